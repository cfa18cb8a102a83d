"""What a site gives for the run's extension, when it is asked to evaluate.

It then has the weights that the round became, which hold no more of its patients than its updates did. What it may not
or cannot give takes nothing from its evaluation.
"""

import logging

from foundation.errors import UserError
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import REFUSAL, Reply

_log = logging.getLogger(__name__)


def give(gate: PolicyGate, reply: Reply) -> Reply:
    """Adds a site's arrays to its evaluation as its policy allows; else the reason, and the evaluation leaves without.

    Args:
        gate: of an order that asks for them.
        reply: as `gate.release` gave it.
    """
    extension = gate.extension
    assert extension is not None
    try:
        least = gate.admit_extension()
        return gate.release_extension(reply, extension.after_evaluation(dict(gate.order.weights), least))
    except UserError as error:
        _log.warning("%s: gives nothing to the %s: %s", gate.site.name, extension.name, error)
        reply.facts |= {REFUSAL: gate.decline(error), "head": gate.ledger.head}
        return reply
