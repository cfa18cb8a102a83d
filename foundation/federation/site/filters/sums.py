"""Sums beside training: small cells stay at the site, and what secure aggregation masks leaves the open reply."""

from dataclasses import replace

import numpy as np

from foundation.errors import UserError
from foundation.federation.policy import Declined
from foundation.federation.secure import submission
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.sums.fixed_point import GROUP, parts_before, to_parts
from foundation.federation.weights.update import SiteUpdate


class SmallSums(Filter):
    """Refuses sums of too few patients, and tables with a small cell: taking cells out would change the total.

    Under secure aggregation the server sees no site's table, and those of one site are hidden in those of all.
    """

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        if outgoing.secure is not None:
            return outgoing
        least = gate.site.policy.patients
        if 0 < outgoing.patients < max(least.metrics, least.cell):
            raise Declined(f"patients: '{gate.order.sums}' are of fewer patients than this site lets leave in the open")
        for name in outgoing.counts:
            cells = np.asarray(outgoing.reply.update[name])
            if ((cells > 0) & (cells < least.cell)).any():
                raise Declined(
                    f"patients.cell: '{gate.order.sums}' hold counts below {least.cell}, which leave this site under "
                    "secure aggregation alone"
                )
        return outgoing


class MaskedSums(Filter):
    """Takes the arrays out of the open reply and hands them, as whole numbers, to what Flower's SecAgg+ masks."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        if outgoing.secure is None:
            return outgoing
        parts = to_parts(outgoing.reply.update)
        before = parts_before({name: np.shape(value) for name, value in outgoing.reply.update.items()})
        submitted = submission(outgoing.secure, before, SiteUpdate(parts, {GROUP: 1}))
        if any(submitted.clipped.values()):
            raise UserError(
                f"{gate.order.sums}: the order leaves masks too little room; install one release everywhere"
            )
        return replace(outgoing, reply=replace(outgoing.reply, update={}), submission=submitted)
