"""What travels between server and sites, as Flower's records: the one place that translates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from omegaconf import DictConfig, OmegaConf

from foundation.federation.weights.types import Arrays
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.tensors import PackedTensors, UnreadableError, to_record

_ARRAYS, _CONTROL, _SAMPLES, _METRICS, _FACTS = "arrays", "control", "samples", "metrics", "facts"
_EXTENSION = "extension"
_SETTING, _FROZEN = "setting.", "frozen."
REFUSAL = "extension"  # among an evaluation's facts: why the site gives nothing for the run's extension


@dataclass
class Order:
    """What a site is asked to do.

    Attributes:
        cfg: the run's resolved config.
        weights: those that travel.
        run: its name, unique to it.
        release: of the server.
        round: counted from 1.
        start_step: steps of the whole run already taken.
        settings: what the strategy asks of training at a site.
        control: the server's control variate (SCAFFOLD); empty otherwise.
        frozen: by group, digests of the weights that do not learn, which sites must hold as well.
        buffers: names of statistics and counters among the weights.
        head: of the server's ledger, for the site's to witness.
        extension: what other sites gave for the run's extension; empty where there is nothing.
    """

    cfg: DictConfig
    weights: Arrays
    run: str
    release: str
    round: int
    start_step: int
    settings: dict[str, float | str] = field(default_factory=dict)
    control: Arrays = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    head: str = ""
    extension: Arrays = field(default_factory=dict)


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
    facts: dict[str, Any] = {
        "config": OmegaConf.to_yaml(order.cfg, resolve=True),
        "run": order.run,
        "release": order.release,
        "round": order.round,
        "start_step": order.start_step,
        "buffers": sorted(order.buffers),
        "head": order.head,
        **{f"{_SETTING}{name}": value for name, value in order.settings.items()},
        **{f"{_FROZEN}{name}": value for name, value in order.frozen.items()},
    }
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


def unpack_order(content: RecordDict) -> Order:
    """An order, read."""
    facts: Mapping[str, Any] = content.config_records[_FACTS]
    cfg = OmegaConf.create(str(facts["config"]))
    assert isinstance(cfg, DictConfig)

    def of(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in facts.items() if name.startswith(prefix)}

    return Order(
        cfg,
        PackedTensors(content.array_records[_ARRAYS]),
        str(facts["run"]),
        str(facts["release"]),
        int(facts["round"]),
        int(facts["start_step"]),
        of(_SETTING),
        PackedTensors(content.array_records[_CONTROL]),
        of(_FROZEN),
        frozenset(facts["buffers"]),
        str(facts["head"]),
        _extension(content),
    )


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
        hospital = str(facts.pop("hospital"))
        if "declined" in facts:
            return Decline(hospital, str(facts["declined"]))
        samples: Mapping[str, Any] = content.metric_records[_SAMPLES]
        metrics: Mapping[str, Any] = content.metric_records[_METRICS]
        return Reply(
            hospital,
            PackedTensors(content.array_records[_ARRAYS]),
            PackedTensors(content.array_records[_CONTROL]),
            {name: int(value) for name, value in samples.items()},
            {name: float(value) for name, value in metrics.items()},
            facts,
            _extension(content),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError(
            f"message: no answer of this release ({error!r}); install one release everywhere"
        ) from error


def _extension(content: RecordDict) -> Arrays:
    return PackedTensors(content.array_records[_EXTENSION]) if _EXTENSION in content.array_records else {}


def travelling_digest(arrays: Arrays, control: Arrays) -> WeightsDigest:
    """Digest and size of all arrays of a message, as both ends' ledgers write them."""
    digest = WeightsDigest(arrays)
    for name, value in control.items():
        digest.update(f"{_CONTROL}/{name}", value)
    return digest
