"""A run's record and history, read as they stand: a fact that is not there is None, never a guess."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from foundation.documents import validated
from foundation.errors import UserError
from foundation.run_record import FILE as RUN
from foundation.run_record import read_run

HISTORY = "history.json"

Numbers = dict[str, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)  # later releases may write more


class SiteTraining(_Part):
    """A site's training in a round; see `history.json` in the design."""

    samples: dict[str, int] | None = None
    metrics: Numbers | None = None
    bytes: dict[str, int] | None = None
    norms: Numbers | None = None


class Round(_Part):
    """A round, as the server saw it."""

    round: int
    started: str | None = None
    seconds: Numbers | None = None
    coverage: dict[str, Numbers] | None = None
    training: dict[str, SiteTraining] = {}
    evaluation: dict[str, Numbers] = {}
    absent: dict[str, str] = {}
    drift: Numbers | None = None
    privacy: dict[str, Any] | None = None
    secure: dict[str, Any] | None = None


class History(_Part):
    """`history.json`."""

    config_digest: str | None = None
    rounds: list[Round]


@dataclass
class Run:
    """A federated run.

    Attributes:
        folder: of it.
        record: `run.json`.
        history: `history.json`.
        digests: SHA-256 by file read.
    """

    folder: Path
    record: dict[str, Any]
    history: History
    digests: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Both files.

        Raises:
            UserError: if one is missing or not what it should be; with file, field and what to do.
        """
        record = read_run(folder)
        path = folder / HISTORY
        if not path.is_file():
            raise UserError(f"{folder}: no {HISTORY} found; give the output folder of a federated run")
        content = path.read_bytes()
        try:
            plain = json.loads(content)
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            raise UserError(f"{path}: not readable as JSON ({error}); resume the run, or run it again") from error
        history = validated(History, plain, path, "run it again")
        digests = {RUN: _digest((folder / RUN).read_bytes()), HISTORY: _digest(content)}
        return cls(folder, record, history, digests)

    @property
    def rounds(self) -> list[Round]:
        return self.history.rounds

    @property
    def held_out(self) -> list[str]:
        """Hospitals that the config holds out; none where it does not say."""
        return held_out(self.record)

    @property
    def sites(self) -> list[str]:
        """In the order of the config, then any that the history alone names; those held out come last."""
        named = [str(name) for name in self.record.get("config", {}).get("sites") or []]
        for part in self.rounds:
            named += [*part.training, *part.evaluation, *part.absent]
        return sorted(dict.fromkeys(named), key=lambda name: name in self.held_out)

    @property
    def groups(self) -> list[str]:
        """Parameter groups of any round: modalities, then fusion, then objectives."""
        names = {group for part in self.rounds for group in part.coverage or {}}
        return sorted(names, key=lambda name: (":" in name, name == "fusion", name))


def held_out(record: dict[str, Any]) -> list[str]:
    """Hospitals that a run's config holds out."""
    return [str(name) for name in (record.get("config", {}).get("data") or {}).get("test_hospitals") or []]


def number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def train_loss(training: SiteTraining | None) -> float | None:
    """Mean over the round's steps, where it was written down."""
    metrics = training.metrics if training else None
    losses = [metrics[name] for name in ("train/loss_epoch", "train/loss") if name in metrics] if metrics else []
    return number(losses[0]) if losses else None


def seconds_of(metrics: Numbers | None) -> float | None:
    """What a site took by its own clock."""
    return number((metrics or {}).get("seconds"))


def nearest(evaluations: Iterable[Numbers | None]) -> int | None:
    """Among how many of the nearest retrieval is looked at: 5, else the most that was evaluated anywhere."""
    names = (name for metrics in evaluations for name in metrics or {})
    counts = {int(name.rpartition("@")[2]) for name in names if "/r@" in name and name.rpartition("@")[2].isdigit()}
    return 5 if 5 in counts else max(counts, default=None)


def times_chance(metrics: Numbers | None, k: int | None = 5) -> float | None:
    """Recall among the nearest k over chance, mean of all modality pairs."""
    ratios = []
    values = metrics or {}
    for name in values:
        recall, chance = number(values[name]), number(values.get(name.replace("/r@", "/chance@")))
        if name.endswith(f"/r@{k}") and recall is not None and chance:
            ratios.append(recall / chance)
    return sum(ratios) / len(ratios) if ratios else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
