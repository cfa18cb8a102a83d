"""A site's side: build, load weights, fit or evaluate on the hospital's own patients, reply."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from omegaconf import DictConfig

from foundation.errors import UserError
from pretrain.evaluation import evaluate_weights
from pretrain.federated.messages import Reply, pack_refusal, pack_reply, unpack_order
from pretrain.fit import Weights, fit_round

Work = Callable[[DictConfig, str, Weights, int], Reply]

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Says which hospital this node is."""
    hospital = str(message.content.config_records["hospitals"]["names"][int(context.node_config["partition-id"])])  # type: ignore[index]
    return Message(pack_reply(Reply(hospital)), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """A round: the ordinary training function from the given weights, on this hospital's patients."""
    return Message(_answer(_train, message.content, context), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Losses and retrieval on this hospital's patients outside training."""
    return Message(_answer(_evaluate, message.content, context), reply_to=message)


def _train(cfg: DictConfig, hospital: str, weights: Weights, start_step: int) -> Reply:
    total = cfg.rounds * cfg.steps_per_round
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        result = fit_round(cfg, [hospital], weights, Path(scratch), cfg.steps_per_round, start_step, total)
    return Reply(hospital, result.weights, result.samples, result.metrics)


def _evaluate(cfg: DictConfig, hospital: str, weights: Weights, start_step: int) -> Reply:
    return Reply(hospital, metrics=evaluate_weights(cfg, [hospital], weights))


def _answer(work: Work, content: RecordDict, context: Context) -> RecordDict:
    """Runs the work; a refusal travels as one line, never as a traceback that might hold a patient's row."""
    cfg, weights, start_step = unpack_order(content)
    hospital = str(cfg.sites[int(context.node_config["partition-id"])])
    started = time.monotonic()
    try:
        reply = work(cfg, hospital, weights, start_step)
    except UserError as error:
        return pack_refusal(hospital, str(error))
    reply.metrics["seconds"] = time.monotonic() - started
    return pack_reply(reply)
