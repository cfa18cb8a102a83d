"""A site's side: read the order, hold it against the policy, train or evaluate on its own patients, reply."""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from foundation.errors import UserError
from pretrain.evaluation import evaluate_module
from pretrain.federated import census
from pretrain.federated.bank_rounds import give, is_asked
from pretrain.federated.desk import Desk, Task
from pretrain.federated.messages import Decline, Reply, pack_decline, pack_reply, unpack_order
from pretrain.federated.policy import public_reason
from pretrain.federated.secure import asked, secure_mod
from pretrain.federated.site import Site
from pretrain.federated.site_update import module_here, train_here
from pretrain.federated.update import masked_update, open_update

Work = Callable[[Desk, Message], RecordDict]

_log = logging.getLogger(__name__)

app = ClientApp(mods=[secure_mod])


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Says which hospital this node is."""
    facts: Any = message.content.config_records["hospitals"]
    site = Site.of_node(context.node_config, list(facts["names"]), Path(facts["folder"]))
    return Message(pack_reply(Reply(site.name)), reply_to=message)


@app.query(census.QUERY)
def statistics(message: Message, context: Context) -> Message:
    """Counts and sums of this hospital's patients, as far as its policy allows."""
    return Message(_answer(_tell, "statistics", message, context), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """A round: the ordinary training function from the given weights, on this hospital's patients."""
    return Message(_answer(_train, "pretrain", message, context), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Losses and retrieval on this hospital's patients outside training; and its share of the run's bank."""
    return Message(_answer(_evaluate, "evaluate", message, context), reply_to=message)


def _train(desk: Desk, message: Message) -> RecordDict:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        result = train_here(desk.site, desk.order, Path(scratch))
    result.metrics["seconds"] = time.monotonic() - started
    if asked(message.content):
        return masked_update(desk, result, message.content)
    return pack_reply(open_update(desk, result))


def _tell(desk: Desk, message: Message) -> RecordDict:
    return pack_reply(census.answer(desk))


def _evaluate(desk: Desk, message: Message) -> RecordDict:
    started = time.monotonic()
    cfg = desk.site.own(desk.order.cfg)
    module = module_here(desk.site, desk.order)
    metrics = evaluate_module(cfg, [desk.site.name], module)
    metrics["seconds"] = time.monotonic() - started
    behind = desk.behind("evaluation")
    for name, objective in module.objectives.items():
        if objective.modalities:
            behind[name] = min(behind[modality] for modality in objective.modalities)  # type: ignore[union-attr]
    reply = desk.release(Reply(desk.site.name, metrics=metrics), int(metrics["patients"]), behind)
    return pack_reply(give(desk, reply) if is_asked(desk.order, desk.site.name) else reply)


def _answer(work: Work, task: Task, message: Message, context: Context) -> RecordDict:
    """Runs the work; a refusal travels as one line, never as a traceback that might hold a patient's row."""
    order = unpack_order(message.content)
    site = Site.of_node(context.node_config, list(order.cfg.sites), Path(order.cfg.output) / "sites")
    try:
        statistics = order.cfg.statistics if task == "statistics" else ()
        desk = Desk(site, order, task, statistics, masked=asked(message.content))
        try:
            desk.admit()
            return work(desk, message)
        except UserError as error:
            _log.error("%s: %s declined: %s", site.name, task, error)
            return pack_decline(Decline(site.name, desk.decline(error)))
    except UserError as error:
        _log.error("%s: %s declined: %s", site.name, task, error)
        return pack_decline(Decline(site.name, public_reason(site.policy, error)))
