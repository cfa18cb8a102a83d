"""The site's contribution to the run's extension, when it is asked to evaluate.

It then has the weights that the round became, which hold no more of its patients than its updates did. What it may not
or cannot give takes nothing from its evaluation.
"""

import logging
from dataclasses import replace

from foundation.errors import UserError
from foundation.federation.site.filters.base import Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.outgoing import EMBEDDINGS, apply_filters
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import REFUSAL, Reply

_log = logging.getLogger(__name__)


def contribute(gate: PolicyGate, reply: Reply) -> Reply:
    """Adds a site's arrays to its evaluation as its policy allows; else the reason, and the evaluation leaves without.

    Args:
        gate: of an order that asks for them.
        reply: the evaluation, as the filters let it pass.
    """
    extension = gate.extension
    assert extension is not None
    try:
        least = gate.admit_extension()
        return with_extension(gate, reply, extension.after_evaluation(dict(gate.order.weights), least))
    except UserError as error:
        _log.warning("%s: gives nothing to the %s: %s", gate.site.name, extension.name, error)
        reply.facts |= {REFUSAL: gate.decline(error), "head": gate.ledger.head}
        return reply


def with_extension(gate: PolicyGate, reply: Reply, arrays: Arrays) -> Reply:
    """An evaluation with a site's arrays, which pass filters of their own.

    Raises:
        UserError: of the filter that refuses; the answer is then as it was.
    """
    outgoing = Outgoing("embeddings", Reply(gate.site.name, extension=arrays), len(gate.task.patients("train")))
    passed = apply_filters(outgoing, EMBEDDINGS, gate).reply
    return replace(reply, extension=passed.extension, facts=reply.facts | passed.facts)
