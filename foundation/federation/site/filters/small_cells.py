"""Statistics of too few patients stay at the site."""

from dataclasses import replace

from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.statistics import suppress
from foundation.federation.statistics.collect import statistics_reply


class SmallCells(Filter):
    """Takes away counts and sums of fewer patients than the site's policy lets leave."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        assert outgoing.statistics is not None
        statistics = suppress(outgoing.statistics, gate.site.policy.patients.cell)
        return replace(outgoing, reply=statistics_reply(gate.site.name, statistics), statistics=None)
