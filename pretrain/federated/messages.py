"""What travels between server and sites, as Flower's records: the one place that translates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from pretrain.fit import Weights

_WEIGHTS, _SAMPLES, _METRICS, _FACTS = "weights", "samples", "metrics", "facts"


@dataclass
class Reply:
    """A site's answer.

    Attributes:
        hospital: who answers.
        weights: after training; empty from an evaluation.
        samples: by parameter group, the patients that taught it.
        metrics: losses, retrieval, seconds.
    """

    hospital: str
    weights: Weights = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def pack_order(cfg: DictConfig, weights: Weights, start_step: int) -> RecordDict:
    """What a site is asked to train or evaluate."""
    facts = {"config": OmegaConf.to_yaml(cfg, resolve=True), "start_step": start_step}
    return RecordDict({_WEIGHTS: _arrays(weights), _FACTS: ConfigRecord(facts)})  # type: ignore[arg-type]


def unpack_order(content: RecordDict) -> tuple[DictConfig, Weights, int]:
    """Config, weights and the step that the round starts from."""
    facts = content.config_records[_FACTS]
    cfg = OmegaConf.create(str(facts["config"]))
    assert isinstance(cfg, DictConfig)
    return cfg, _weights(content.array_records[_WEIGHTS]), int(facts["start_step"])  # type: ignore[arg-type]


def pack_reply(reply: Reply) -> RecordDict:
    """A site's answer, as records."""
    return RecordDict(
        {
            _WEIGHTS: _arrays(reply.weights),
            _SAMPLES: MetricRecord(dict(reply.samples)),
            _METRICS: MetricRecord(dict(reply.metrics)),
            _FACTS: ConfigRecord({"hospital": reply.hospital}),
        }
    )


def pack_refusal(hospital: str, reason: str) -> RecordDict:
    """A site's refusal, with the one line that says why."""
    return RecordDict({_FACTS: ConfigRecord({"hospital": hospital, "refused": reason})})


def unpack_reply(content: RecordDict) -> Reply:
    """A site's answer, read.

    Raises:
        UserError: with the site's own line, if it refused.
    """
    facts = content.config_records[_FACTS]
    hospital = str(facts["hospital"])
    if "refused" in facts:
        raise UserError(f"site {hospital}: {facts['refused']!s}")
    samples: Mapping[str, Any] = content.metric_records[_SAMPLES]
    metrics: Mapping[str, Any] = content.metric_records[_METRICS]
    return Reply(
        hospital,
        _weights(content.array_records[_WEIGHTS]),
        {name: int(value) for name, value in samples.items()},
        {name: float(value) for name, value in metrics.items()},
    )


def _arrays(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value, order="C")) for name, value in weights.items()})


def _weights(record: ArrayRecord) -> Weights:
    return {name: array.numpy() for name, array in record.items()}
