"""A server with sites that answer at once and learn nothing: what a test wants of each, round by round."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from omegaconf import DictConfig, OmegaConf

from foundation.federation.runtime.in_process import SerialGrid
from foundation.federation.server.app import Federation
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.wire.messages import Order, Reply, answering, pack_reply, unpack_order
from tests.foundation.federation.gates import TASKS

SITES = ["alpha", "beta", "gamma", "delta"]
PATIENT, QUERY = "encoder.fusion.patient", "encoder.modalities.genomics.query"
SEEN = "encoder.modalities.genomics.seen"
START = {PATIENT: np.zeros(4, np.float32), QUERY: np.ones((2, 3), np.float32), SEEN: np.zeros(1, np.float32)}
SAMPLES = {"fusion": 8, "genomics": 4}
METRICS = {"patients": 5.0, "seconds": 0.0}

Behaviour = Callable[[Order], RecordDict]


def moves(by: float, samples: Mapping[str, int] = SAMPLES, **arrays: np.ndarray) -> Behaviour:
    """A site whose every parameter moves by so much; `arrays` replace parts of the difference."""

    def work(order: Order) -> RecordDict:
        difference = {name: np.full_like(value, by) for name, value in order.weights.items()}
        return pack_reply(Reply("", {**difference, **arrays}, samples=dict(samples), metrics={"train/loss_epoch": by}))

    return work


def tells(order: Order) -> RecordDict:
    """A site's evaluation."""
    return pack_reply(Reply("", metrics=METRICS))


class Stubs:
    """The sites' app.

    Args:
        behaviours: by site; the others move by 1.
        evaluations: by site, what it answers when it is asked to evaluate; the others tell of five patients.

    Attributes:
        orders: of training, in the order in which they came: site, round, weights.
        extensions: what came with them for the run's extension, by site and round.
    """

    def __init__(self, behaviours: Mapping[str, Behaviour], evaluations: Mapping[str, Behaviour] | None = None) -> None:
        self.behaviours = dict(behaviours)
        self.evaluations = dict(evaluations or {})
        self.extensions: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        self.orders: list[tuple[str, int, dict[str, np.ndarray]]] = []
        self.app = ClientApp()
        self.app.query()(self._introduce)
        self.app.train()(self._train)
        self.app.evaluate()(self._evaluate)

    def _name(self, context: Context) -> str:
        return SITES[int(context.node_config["partition-id"])]

    def _introduce(self, message: Message, context: Context) -> Message:
        return Message(pack_reply(Reply(self._name(context))), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        site, order = self._name(context), unpack_order(message.content, TASKS)
        self.orders.append((site, order.round, {name: np.array(value) for name, value in order.weights.items()}))
        self.extensions[site, order.round] = {name: np.array(value) for name, value in order.extension.items()}
        content = self.behaviours.get(site, moves(1.0))(order)
        content.config_records["facts"]["hospital"] = site
        return Message(answering(content, message.content), reply_to=message)

    def _evaluate(self, message: Message, context: Context) -> Message:
        site = self._name(context)
        content = self.evaluations.get(site, tells)(unpack_order(message.content, TASKS))
        content.config_records["facts"]["hospital"] = site
        return Message(answering(content, message.content), reply_to=message)


class PatchyGrid(SerialGrid):
    """Nodes that come, go and fall silent.

    Args:
        app: of the nodes.

    Attributes:
        gone: sites that are not connected.
        silent: sites whose answers never come.
    """

    def __init__(self, app: ClientApp) -> None:
        super().__init__({number + 1: {"partition-id": number} for number in range(len(SITES))}, app)
        self.gone: set[str] = set()
        self.silent: set[str] = set()

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self.contexts if SITES[node - 1] not in self.gone]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        answered = [
            number
            for number in message_ids
            if number in self._asked and SITES[self._asked[number].metadata.dst_node_id - 1] not in self.silent
        ]
        return super().pull_messages(answered)


def config(folder: Path, **more: Any) -> DictConfig:
    """What the server reads of a run's config."""
    content = {
        "federated_task": {"_target_": "pretrain.federated.task.Pretraining"},
        "rounds": 1,
        "steps_per_round": 2,
        "sites": SITES,
        "quorum": 1.0,
        "deadline": None,
        "join_seconds": 0.3,
        "memory_mib": 64,
        "statistics": [],
        "data": {"test_hospitals": [], "batch_size": 8},
        "encoder": {"width": 4},
        "modality": {
            "pathology": {"_target_": "foundation.modalities.pathology.encoder.Pathology"},
            "genomics": {"_target_": "foundation.modalities.genomics.encoder.Genomics"},
        },
        "strategy": {"_target_": "foundation.federation.strategies.averaging.FedAvg"},
        "compression": {"_target_": "foundation.federation.wire.compression.Compressor", "kind": "fp32"},
        "screening": {"_target_": "foundation.federation.server.screening.Screening", "processes": 2},
        "privacy": {"_target_": "foundation.federation.privacy.base.Privacy"},
        "output": str(folder),
    }
    return OmegaConf.create({**content, **more})


def begin(folder: Path, digest: str = "digest") -> Checkpoints:
    """A run that has its first weights."""
    checkpoints = Checkpoints(folder, digest)
    checkpoints.begin(START, [SEEN])
    return checkpoints


def run(cfg: DictConfig, grid: SerialGrid, checkpoints: Checkpoints) -> dict[str, np.ndarray]:
    """The weights after all rounds that are left."""
    weights = checkpoints.resume() or LazySafetensors(checkpoints.path(0))
    return dict(Federation(cfg, grid, checkpoints).run(weights))
