"""The app of a site: it reads the order, holds it against the policy, trains or evaluates here, and replies."""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from foundation.errors import UserError
from foundation.federation.extension import is_asked
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import SERVER, printable
from foundation.federation.planning import settings_of
from foundation.federation.policy import public_reason
from foundation.federation.secure import SecureOrder, asked, secure_mod
from foundation.federation.site.config import Site
from foundation.federation.site.extension import contribute
from foundation.federation.site.filters.base import Outgoing
from foundation.federation.site.gate import OrderType, PolicyGate
from foundation.federation.site.outgoing import (
    EVALUATION,
    MASKED_UPDATE,
    STATISTICS,
    SUMS,
    UPDATE,
    apply_filters,
    packed,
)
from foundation.federation.site.sums import sums_here
from foundation.federation.site.training import epochs_of, module_here, train_here
from foundation.federation.statistics import collect
from foundation.federation.task import RoundResult
from foundation.federation.weights.update import difference
from foundation.federation.wire.messages import Decline, Order, Reply, answering, pack_decline, pack_reply, unpack_order
from foundation.lineage import site_list
from foundation.patient_list import write_patients

Answer = Callable[[PolicyGate, Message], RecordDict]

_log = logging.getLogger(__name__)

Handler = Callable[[Message, Context], Message]


def note_refusals(message: Message, context: Context, call_next: Handler) -> Message:
    """Lets a refusal by what stands before the app, as masking does, leave as a line that the ledger holds, too."""
    try:
        return call_next(message, context)
    except UserError as error:
        site = Site.of_node(context.node_config)
        reason = printable(public_reason(site.policy, error))
        _log.error("%s: declined: %s", site.name, error)
        Ledger.open(site.ledger, site.name).append("decline", "out", peer=SERVER, note=reason)
        return Message(pack_decline(Decline(site.name, reason)), reply_to=message)


app = ClientApp(mods=[note_refusals, secure_mod])


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Says which hospital this node is."""
    return Message(pack_reply(Reply(Site.of_node(context.node_config).name)), reply_to=message)


@app.query(collect.QUERY)
def statistics(message: Message, context: Context) -> Message:
    """Counts and sums of this hospital's patients, as far as its policy allows."""
    return Message(_answer(_statistics, "statistics", message, context), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """A round: the ordinary training function from the given weights, on this hospital's patients; or sums of them."""
    return Message(_answer(_train, "train", message, context), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Metrics of this hospital's patients outside training; and what it gives for the run's extension."""
    return Message(_answer(_evaluate, "evaluate", message, context), reply_to=message)


def _train(gate: PolicyGate, message: Message) -> RecordDict:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        result = train_here(gate, Path(scratch))
    _keep_patients(gate)
    result.metrics["seconds"] = time.monotonic() - started
    secure = gate.secure_order(message.content) if gate.masked else None
    return packed(apply_filters(_update_of(gate, result, secure), UPDATE if secure is None else MASKED_UPDATE, gate))


def _keep_patients(gate: PolicyGate) -> None:
    """Whom the run trained on, for this hospital's own later tests; the list stays here."""
    split = gate.task.split
    write_patients(site_list(gate.site.ledger.parent, gate.order.run), split.train, split.validation, [gate.site.name])


def _update_of(gate: PolicyGate, result: RoundResult, secure: SecureOrder | None) -> Outgoing:
    changes = difference(gate.order.weights, result.weights)
    reply = Reply(gate.site.name, changes, result.control, result.samples, result.metrics)
    count = len(gate.task.patients("train"))
    return Outgoing("update", reply, count, gate.task.behind("train"), epochs_of(gate, count), secure=secure)


def _statistics(gate: PolicyGate, message: Message) -> RecordDict:
    statistics = gate.task.statistics(gate.statistics)
    patients = len(gate.task.patients("train"))
    outgoing = Outgoing("statistics", Reply(gate.site.name), patients, statistics=statistics)
    return packed(apply_filters(outgoing, STATISTICS, gate))


def _sums(gate: PolicyGate, message: Message) -> RecordDict:
    secure = gate.secure_order(message.content) if gate.masked else None
    return packed(apply_filters(sums_here(gate, secure), SUMS, gate))


def _evaluate(gate: PolicyGate, message: Message) -> RecordDict:
    started = time.monotonic()
    evaluation = gate.task.evaluate(module_here(gate))
    metrics = evaluation.metrics | {"seconds": time.monotonic() - started}
    reply = Reply(gate.site.name, metrics=metrics)
    outgoing = apply_filters(
        Outgoing("evaluation", reply, int(metrics["patients"]), evaluation.behind), EVALUATION, gate
    )
    if gate.extension is not None and is_asked(gate.order, gate.site.name):
        outgoing.reply = contribute(gate, outgoing.reply)
    return packed(outgoing)


def _answer(answer: Answer, order_type: OrderType, message: Message, context: Context) -> RecordDict:
    """Does what an order asks; a refusal travels as one line, never as a traceback that might hold a patient's row."""
    return answering(_answered(answer, order_type, message, context), message.content)


def _answered(answer: Answer, order_type: OrderType, message: Message, context: Context) -> RecordDict:
    site = Site.of_node(context.node_config)
    try:
        order = _order(site, message)
        if order.sums:
            order_type, answer = "sums", _sums
        gate = PolicyGate(site, order, order_type, masked=asked(message.content))
        try:
            gate.admit()
            return answer(gate, message)
        except UserError as error:
            _log.error("%s: %s declined: %s", site.name, order_type, error)
            return pack_decline(Decline(site.name, gate.decline(error)))
        except Exception as error:
            gate.fail(error)
            raise
    except UserError as error:
        _log.error("%s: %s declined: %s", site.name, order_type, error)
        return pack_decline(Decline(site.name, public_reason(site.policy, error)))


def _order(site: Site, message: Message) -> Order:
    """What came, read; what is no order of this contract stands in the ledger, too.

    Raises:
        UserError: if it is none.
    """
    try:
        return unpack_order(message.content, settings_of(site.tasks()))
    except UserError as error:
        reason = printable(public_reason(site.policy, error))
        Ledger.open(site.ledger, site.name).append("decline", "out", peer=SERVER, note=reason)
        raise
