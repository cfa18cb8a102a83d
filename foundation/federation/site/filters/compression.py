"""Compression of an update, with error feedback."""

from dataclasses import replace

from foundation.federation.site.error_feedback import ErrorFeedback
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.training import state_of


class Compression(Filter):
    """Narrows the difference as the run asks; what that loses is added to the site's next difference."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        order, reply = gate.order, outgoing.reply
        lost = _feedback(gate).before(order.round)
        encoded = gate.compression.encode(reply.update, lost, f"{gate.site.name}/{order.round}")
        return replace(outgoing, reply=replace(reply, update=encoded.arrays), residual=encoded.residual)

    def on_passed(self, outgoing: Outgoing, gate: PolicyGate) -> None:
        _feedback(gate).save(gate.order.round, outgoing.residual)


def _feedback(gate: PolicyGate) -> ErrorFeedback:
    return ErrorFeedback(state_of(gate.site, gate.order), gate.order.run)
