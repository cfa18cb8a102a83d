"""A site's answer to a question of sums: what its task says, for the filters to pass on."""

from foundation.federation.plan.standing import NEWS
from foundation.federation.policy import Declined
from foundation.federation.secure import SecureOrder
from foundation.federation.site.filters.base import Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.standing import check_news
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
    if order.sums == NEWS:
        return _news_here(gate, secure)
    sums = gate.task.sums(order.sums, weights_of(order), question_of(order))
    reply = Reply(gate.site.name, to_answer(order, sums.arrays))
    counts = tuple(places(sums.arrays)[name] for name in sums.counts)
    return Outgoing("statistics", reply, sums.patients, counts=counts, secure=secure)


def _news_here(gate: PolicyGate, secure: SecureOrder | None) -> Outgoing:
    """The word that this hospital has enough that is new: receipt of the question, and nothing else.

    Raises:
        Declined: if it has not, or the plan does not recur.
    """
    order, patients = gate.order, gate.task.patients("train")
    if order.plan.standing is None or order.shapes:
        raise Declined("standing: the plan does not recur, or asks for more than a word")
    check_news(gate.site, order.plan, order.run, gate.ledger.entries(), patients)
    return Outgoing("statistics", Reply(gate.site.name), len(patients), secure=secure)
