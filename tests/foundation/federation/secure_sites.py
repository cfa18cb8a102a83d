"""Hospitals without training, and a grid in this process that hands them messages as a SuperLink would."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.common.serde import context_from_proto, context_to_proto, recorddict_from_proto, recorddict_to_proto
from flwr.supercore.task_identity import TaskIdentity

from foundation.federation.groups import group_of
from foundation.federation.secure import (
    Secure,
    SecureOrder,
    SecureRound,
    asked,
    masked_reply,
    secure_mod,
    secure_round,
)
from foundation.federation.secure.site import submission
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.weights.types import Weights
from foundation.federation.weights.update import SiteUpdate, difference

Samples = Mapping[str, int]
Change = Callable[[RecordDict], RecordDict | None]

COUNTER = "encoder.modalities.pathology.backbone.bn1.num_batches_tracked"
VARIANCE = "encoder.modalities.pathology.backbone.bn1.running_var"
CONSTANT = "encoder.modalities.genomics.expression_mean"
SHAPES = {
    "encoder.modalities.pathology.pool.weight": (40, 50),
    "encoder.fusion.kind.pathology": (8,),
    "encoder.modalities.genomics.gene": (30, 10),
    "encoder.fusion.blocks.layer": (64, 64),
    "objectives.alignment.log_scale": (),
}
GROUPS = ("fusion", "genomics", "objective:alignment", "pathology")


def weights(seed: int) -> Weights:
    """A small model's state, with a scalar, a counter, a running statistic and a constant."""
    rng = np.random.default_rng(seed)
    found: Weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    found[COUNTER] = np.array(rng.integers(100, 200), np.int64)
    found[VARIANCE] = rng.uniform(0.5, 300, size=8).astype(np.float32)
    found[CONSTANT] = np.arange(30, dtype=np.float32)
    return found


def trained(before: Weights, seed: int, step: float = 1e-2) -> Weights:
    """What a site's training made of it."""
    rng = np.random.default_rng(seed)
    after: Weights = {}
    for name, value in before.items():
        if name == COUNTER:
            after[name] = value + rng.integers(1, 20)
        elif name == CONSTANT:
            after[name] = value
        else:
            after[name] = (value + rng.normal(0, step, size=value.shape)).astype(value.dtype)
    return after


def pack(values: Weights) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})})


def unpack(content: RecordDict) -> Weights:
    return {name: array.numpy() for name, array in content.array_records["arrays"].items()}


def site_app(name: str, after: Weights, samples: Samples) -> ClientApp:
    """A hospital whose training gives these weights."""
    app = ClientApp(mods=[secure_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if not asked(message.content):
            return Message(RecordDict({**pack(after), "samples": MetricRecord(dict(samples))}), reply_to=message)
        before = unpack(message.content)
        submitted = submission(
            SecureOrder.read(message.content), before, SiteUpdate(difference(before, after), samples)
        )
        facts: dict[str, int | str] = {"hospital": name, "crowd": masking_sites(message.content)}
        return Message(masked_reply(RecordDict({"facts": ConfigRecord(facts)}), submitted), reply_to=message)  # type: ignore[arg-type]

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"loss": 1.0})}), reply_to=message)

    return app


def masking_sites(content: RecordDict) -> int:
    """How many sites are summed at most, this one included: those whose shares of keys came with the order."""
    return len(cast(list[int], content.config_records[RECORD_KEY_CONFIGS][Key.SOURCE_LIST])) + 1


def wire(content: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(content))


@dataclass
class InProcess:
    """A grid whose sites answer here, one after another; messages and a site's state are serialised in between.

    Attributes:
        apps: by node.
        changes: by node and stage, what becomes of the reply: another one, None for no answer, or an error of the node
            if the function raises.
        seen: stage, node and content of every reply that the server got.
    """

    apps: Mapping[int, ClientApp]
    changes: Mapping[tuple[int, str], Change] = field(default_factory=dict)
    seen: list[tuple[str, int, RecordDict]] = field(default_factory=list)
    sent: list[tuple[str, int, RecordDict]] = field(default_factory=list)
    states: dict[int, bytes] = field(default_factory=dict)
    replies: dict[str, Message | None] = field(default_factory=dict)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        replies = [self._answer(message) for message in messages]
        numbers = [str(len(self.replies) + place) for place in range(len(replies))]
        self.replies |= dict(zip(numbers, replies, strict=True))
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [reply for number in message_ids if (reply := self.replies[number]) is not None]

    def _answer(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        message = Message(wire(message.content), metadata=message.metadata)
        secagg = message.content.config_records.get(RECORD_KEY_CONFIGS)
        stage = str(secagg["stage"]) if secagg else ""
        self.sent.append((stage, node, wire(message.content)))
        context = Context(1, node, {}, RecordDict(), {})
        if node in self.states:
            context = context_from_proto(type(context_to_proto(context)).FromString(self.states[node]))
        try:
            reply = self.apps[node](message, context)
            self.states[node] = context_to_proto(context).SerializeToString()
            content: RecordDict | None = wire(reply.content)
            if (node, stage) in self.changes:
                content = self.changes[node, stage](content)
        except Exception as error:  # noqa: BLE001 - as Flower does: the node reports it
            return Message(Error(0, f"{type(error)}:<'{error}'>"), reply_to=message)
        if content is None:
            return None
        self.seen.append((stage, node, wire(content)))
        return Message(content, reply_to=message)


MOST = 64
SAMPLES: dict[str, Samples] = {
    "riverside": {"pathology": 60, "genomics": 40, "fusion": 64, "objective:alignment": 40},
    "northgate": {"pathology": 64, "fusion": 64},
    "lakeview": {"genomics": 31, "fusion": 64, "objective:alignment": 10},
    "summit": {"pathology": 7, "genomics": 12, "fusion": 19},
}
NODES = {"riverside": 2**63 + 5, "northgate": 7, "lakeview": 2**64 - 9, "summit": 11}  # Flower's are unsigned
BEFORE = weights(0)
AFTER = {site: trained(BEFORE, number + 1) for number, site in enumerate(SAMPLES)}
CHOSEN = Secure(exchange_seconds=0.2)  # sites answer while they are asked: only silence takes time


@pytest.fixture(autouse=True, scope="module")
def a_task() -> Iterator[None]:
    """The identity that Flower gives a server's process."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    yield
    TaskIdentity._run_id = TaskIdentity._node_id = TaskIdentity._task_id = None


def grid_of(after: dict = AFTER, samples: dict = SAMPLES, **changes) -> InProcess:
    """A grid of the hospitals; a change is named `<site>__<stage>`."""
    apps = {NODES[site]: site_app(site, after[site], samples[site]) for site in samples}
    named = {tuple(name.split("__")): change for name, change in changes.items()}
    return InProcess(apps, {(NODES[site], stage): change for (site, stage), change in named.items()})


def round_of(grid: InProcess, sites=tuple(SAMPLES), chosen: Secure = CHOSEN, **more) -> SecureRound:
    nodes = {site: NODES[site] for site in sites}
    return secure_round(grid, nodes, pack(BEFORE), BEFORE, chosen, MOST, 1, 0.1, **more)  # type: ignore[arg-type]


def update_of(after: Weights, samples: Samples) -> SiteUpdate:
    return SiteUpdate(difference(BEFORE, after), samples)


def plain_mean(after: Mapping[str, Weights], samples: Mapping[str, Samples]) -> Weights:
    """The weights that the same updates give in the open."""
    updates = {site: update_of(after[site], samples[site]) for site in samples}
    return FedAvg().combine(BEFORE, updates, frozenset()).weights


def weights_of(masked: SecureRound) -> Weights:
    """The weights after a secure round."""
    return FedAvg().combine(BEFORE, {"sum of sites": masked.update}, frozenset()).weights


def equals_the_plain_mean(found: SecureRound, after: dict, samples: dict, sites: int, chosen: Secure = CHOSEN) -> None:
    """Within the bound that the contract states; single precision of the result is rounding of its own."""
    order = SecureOrder.of(chosen, MOST, GROUPS)
    present = {site: samples[site] for site in found.took_part}
    plain, result = plain_mean(after, present), weights_of(found)
    for name, before in BEFORE.items():
        group = group_of(name)
        counts = {site: samples[site].get(group, 0) for site in present}
        total, count = sum(counts.values()), sum(number > 0 for number in counts.values())
        assert found.contributors[group] == count
        if count < chosen.minimum_contributors:
            assert result[name].tobytes() == before.tobytes()
            continue
        assert found.samples[group] == total
        mean = sum(
            number / total * (after[site][name].astype(np.float64) - before.astype(np.float64))
            for site, number in counts.items()
            if number
        )
        bound = order.bound(name, before, sites, count, total)
        error = np.abs(found.differences[name] - mean).max()
        assert error <= bound * (1 + 1e-6), (name, error, bound)
        slack = 2 * np.finfo(np.float32).eps * np.abs(plain[name]).max() if before.dtype == np.float32 else 0
        assert np.abs(result[name].astype(np.float64) - plain[name]).max() <= bound + slack
        assert (result[name].dtype, result[name].shape) == (before.dtype, before.shape)
