"""A site's answer to a question of sums: what its task says, for the filters to pass on."""

from foundation.federation.secure import SecureOrder
from foundation.federation.site.filters.base import Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import Reply
from foundation.federation.wire.sums import places, question_of, to_answer, weights_of


def sums_here(gate: PolicyGate, secure: SecureOrder | None) -> Outgoing:
    """What the site's task says to the order's question.

    Args:
        gate: that admitted the order.
        secure: what the order says of masks; None for an answer in the open.

    Raises:
        UserError: if the task knows no such question, or answers in another form than was declared.
    """
    order = gate.order
    sums = gate.task.sums(order.sums, weights_of(order), question_of(order))
    reply = Reply(gate.site.name, to_answer(order, sums.arrays))
    counts = tuple(places(sums.arrays)[name] for name in sums.counts)
    return Outgoing("statistics", reply, sums.patients, counts=counts, secure=secure)
