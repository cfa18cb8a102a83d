"""What travels between server and sites, as Flower's records: the one place that translates."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict

from foundation.federation.ledger.entry import printable
from foundation.federation.ledger.seal import Receipt
from foundation.federation.plan import OrderHeader, RunPlan, TaskSettings, UnfitPlanError, read_plan
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.bounds import fits
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.tensors import PackedTensors, UnreadableError, to_record

_ARRAYS, _CONTROL, _SAMPLES, _METRICS, _FACTS = "arrays", "control", "samples", "metrics", "facts"
_EXTENSION = "extension"
RECEIPT = "receipt"  # among an answer's facts: the head of the site's ledger, signed
_ANSWERS = "answers"  # among an answer's facts: digest of the order
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,299}")
REFUSAL = "extension"  # among an evaluation's facts: why the site gives nothing for the run's extension


@dataclass
class Order:
    """What a site is asked to do.

    Attributes:
        plan: of the run.
        weights: those that travel.
        run: its name, unique to it.
        round: counted from 1; 0 before the first.
        clip: of this round, where the plan's clip follows what sites send; else the plan's own holds.
        control: the server's control variate (SCAFFOLD); empty otherwise.
        frozen: by group, digests of the weights that do not learn, which sites must hold as well.
        buffers: names of statistics and counters among the weights.
        head: of the server's ledger, for the site's to witness.
        extension: what other sites gave for the run's extension; empty where there is nothing.
        sums: name of the sums that are asked for instead of training (`wire.sums`); empty where none are.
        shapes: of the arrays that answer, in the order of their names.
        receipts: heads of sites' ledgers that they signed, as the server holds them.
    """

    plan: RunPlan
    weights: Arrays
    run: str
    round: int
    clip: float | None = None
    control: Arrays = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    head: str = ""
    extension: Arrays = field(default_factory=dict)
    sums: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
    receipts: tuple[Receipt, ...] = ()

    @property
    def start_step(self) -> int:
        """Steps of the whole run already taken, if every round took place."""
        return max(0, self.round - 1) * self.plan.steps


@dataclass
class Reply:
    """A site's answer.

    Attributes:
        hospital: who answers.
        update: encoded difference to the weights that it was given; empty from an evaluation.
        control: change of the site's control variate (SCAFFOLD); empty otherwise.
        samples: by parameter group, the patients that trained it.
        metrics: losses, retrieval, seconds.
        facts: text and numbers beside them: digests, release.
        extension: what the site gives for the run's extension; empty where it gives nothing.
    """

    hospital: str
    update: Arrays = field(default_factory=dict)
    control: Arrays = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str | float] = field(default_factory=dict)
    extension: Arrays = field(default_factory=dict)


@dataclass
class Decline:
    """A site's refusal, with the one line that says why."""

    hospital: str
    reason: str


def pack_order(order: Order) -> RecordDict:
    """An order, as records."""
    header = {
        "run": order.run,
        "round": order.round,
        "clip": order.clip,
        "frozen": dict(order.frozen),
        "buffers": sorted(order.buffers),
        "head": order.head,
        "receipts": [receipt.values() for receipt in order.receipts],
        "sums": order.sums,
        "shapes": [list(shape) for shape in order.shapes],
    }
    facts: dict[str, Any] = {"plan": order.plan.text(), "order": OrderHeader.read(header, "order", ours=True).text()}
    return RecordDict(
        {
            _ARRAYS: to_record(order.weights),
            _CONTROL: to_record(order.control),
            _FACTS: ConfigRecord(facts),
            **extension_records(order.extension),
        }
    )


def extension_records(arrays: Arrays) -> dict[str, ArrayRecord]:
    """What a message has of an extension: a record of its own, which differs by site where all others are the same.

    None without arrays, for each record costs a request on every hop.
    """
    return {_EXTENSION: to_record(arrays)} if arrays else {}


def unpack_order(content: RecordDict, tasks: Mapping[str, type[TaskSettings]]) -> Order:
    """An order, read: nothing is built, resolved or imported by it.

    Args:
        content: as `pack_order` makes it.
        tasks: by name, the settings of those that are installed here.

    Raises:
        UserError: if it is none, in words that repeat nothing of it.
    """
    try:
        facts: Mapping[str, Any] = content.config_records[_FACTS]
        texts = [facts["plan"], facts["order"]]
        arrays = [content.array_records[name] for name in (_ARRAYS, _CONTROL)]
    except KeyError as error:
        raise UnfitPlanError("order: a part of it is missing; install one release everywhere") from error
    if not all(isinstance(text, str) for text in texts):
        raise UnfitPlanError("order: plan and header are texts; install one release everywhere")
    plan = read_plan(texts[0], tasks)
    header = OrderHeader.read_text(texts[1], "order")
    if header.round > plan.rounds:
        raise UnfitPlanError(f"order: round: beyond the {plan.rounds} rounds of its plan")
    weights, control, extension = _named(arrays[0]), _named(arrays[1]), _extension(content)
    _check_names(extension)
    return Order(
        plan,
        weights,
        header.run,
        header.round,
        header.clip,
        control,
        dict(header.frozen),
        frozenset(header.buffers),
        header.head,
        extension,
        header.sums,
        header.shapes,
        header.receipts,
    )


def _named(record: ArrayRecord) -> Arrays:
    arrays = PackedTensors(record)
    _check_names(arrays)
    return arrays


def _check_names(arrays: Arrays) -> None:
    """Holds arrays to names as modules have them; everything else a site only compares them with its own.

    Raises:
        UnfitPlanError: if one is none.
    """
    if not all(_NAME.fullmatch(name) for name in arrays):
        raise UnfitPlanError("order: an array whose name is no parameter's")


def pack_reply(reply: Reply) -> RecordDict:
    """A site's answer, as records."""
    return RecordDict(
        {
            _ARRAYS: to_record(reply.update),
            _CONTROL: to_record(reply.control),
            _SAMPLES: MetricRecord(dict(reply.samples)),
            _METRICS: MetricRecord(dict(reply.metrics)),
            _FACTS: ConfigRecord({**reply.facts, "hospital": reply.hospital}),
            **extension_records(reply.extension),
        }
    )


def pack_decline(decline: Decline) -> RecordDict:
    """A site's refusal, as records."""
    return RecordDict({_FACTS: ConfigRecord({"hospital": decline.hospital, "declined": decline.reason})})


def unpack_reply(content: RecordDict) -> Reply | Decline:
    """A site's answer, read; its arrays are views of the message.

    Raises:
        UnreadableError: if it is not what `pack_reply` or `pack_decline` makes.
    """
    try:
        record = content.config_records[_FACTS]
        facts = {name: value for name, value in record.items() if isinstance(value, str | float)}
        hospital = printable(str(facts.pop("hospital")))
        if "declined" in facts:
            return Decline(hospital, printable(str(facts["declined"])))
        samples: Mapping[str, Any] = content.metric_records[_SAMPLES]
        metrics: Mapping[str, Any] = content.metric_records[_METRICS]
        reply = Reply(
            hospital,
            PackedTensors(content.array_records[_ARRAYS]),
            PackedTensors(content.array_records[_CONTROL]),
            {name: int(value) for name, value in samples.items()},
            {name: float(value) for name, value in metrics.items()},
            facts,
            _extension(content),
        )
        fits(reply.samples, reply.metrics, facts)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableError(
            f"message: no answer of this release ({type(error).__name__}); install one release everywhere"
        ) from error
    return reply


def order_digest(content: RecordDict) -> str:
    """SHA-256 of what an order says beside its arrays: its plan, run, round and the server's latest entry.

    An answer names it, so that one to an earlier order cannot count for a later one. Empty for what is no order.
    """
    facts: Mapping[str, Any] = content.config_records.get(_FACTS, {})
    texts = [facts.get(name) for name in ("plan", "order")]
    if not all(isinstance(text, str) for text in texts):
        return ""
    return hashlib.sha256("\0".join(map(str, texts)).encode("utf-8", "replace")).hexdigest()


def answering(answer: RecordDict, order: RecordDict) -> RecordDict:
    """An answer that names its order; the same object."""
    facts = answer.config_records[_FACTS]
    facts[_ANSWERS] = order_digest(order)
    return answer


def check_answers(answer: RecordDict, order: str) -> None:
    """Holds an answer against the digest of the order that went out; a refusal costs nobody else anything.

    Raises:
        UnreadableError: if it answers another one: it was sent again, or made up.
    """
    facts: Mapping[str, Any] = answer.config_records.get(_FACTS, {})
    if order and "declined" not in facts and facts.get(_ANSWERS) != order:
        raise UnreadableError("message: answers another order than this one; each order is answered once, by itself")


def failure_of(error: Error) -> str:
    """Why a node gave no answer, as one line: the last of what it said."""
    lines = str(error.reason or "").strip().splitlines() or [f"code {error.code}"]
    return f"the node failed: {printable(lines[-1])}"


def _extension(content: RecordDict) -> Arrays:
    return PackedTensors(content.array_records[_EXTENSION]) if _EXTENSION in content.array_records else {}


def travelling_digest(arrays: Arrays, control: Arrays) -> WeightsDigest:
    """Digest and size of all arrays of a message, as both ends' ledgers write them."""
    digest = WeightsDigest(arrays)
    for name, value in control.items():
        digest.update(f"{_CONTROL}/{name}", value)
    return digest
