"""Metrics of too few patients stay at the site."""

from dataclasses import replace

from foundation.federation.policy import suppress
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate


class WithheldMetrics(Filter):
    """Takes away metrics of fewer patients than the site's policy lets leave."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        metrics = suppress(gate.site.policy, outgoing.reply.metrics, outgoing.patients, outgoing.behind)
        return replace(outgoing, reply=replace(outgoing.reply, metrics=metrics))
