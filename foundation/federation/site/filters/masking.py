"""Secure aggregation: an update as vectors that are masked on their way out."""

from dataclasses import replace

from foundation.federation.secure import submission
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.weights.update import SiteUpdate


class Masking(Filter):
    """Takes the arrays out of the open reply and puts them, with the counts, into what Flower's SecAgg+ masks."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        assert outgoing.secure is not None, "asked for by the order"
        reply = outgoing.reply
        submitted = submission(outgoing.secure, gate.order.weights, SiteUpdate(reply.update, reply.samples))
        return replace(outgoing, reply=replace(reply, update={}, control={}), submission=submitted)
