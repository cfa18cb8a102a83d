"""Checkpoints on the server's disk: weights after each, and the history of all; the next round starts from the last."""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.federation.weights.lazy import LazySafetensors, save_weights
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import write_json

_HISTORY, _MODEL = "history.json", "rounds/model.json"


class Checkpoints:
    """The checkpoints of a federated run.

    Args:
        folder: of the run; `rounds/` and `history.json` lie in it.
        config_digest: of what the weights depend on; another config cannot go on from them.
        keep: as many of the latest checkpoints stay.
    """

    def __init__(self, folder: Path, config_digest: str, keep: int = 2) -> None:
        self.folder = folder
        self.config_digest = config_digest
        self.keep = keep
        self.history: list[dict[str, Any]] = []

    def begin(self, weights: Weights, buffers: Iterable[str] = (), frozen: Mapping[str, str] | None = None) -> None:
        """Writes what the first round starts from.

        Args:
            weights: those that travel.
            buffers: those of them that are statistics and counters.
            frozen: by group, digests of the weights that do not travel, for they do not learn.
        """
        (self.folder / _HISTORY).unlink(missing_ok=True)  # of an earlier run into this folder
        save_weights(weights, self.path(0))
        run = f"{self.config_digest[:16]}-{secrets.token_hex(4)}"
        write_json(self.folder / _MODEL, {"run": run, "buffers": sorted(buffers), "frozen": dict(frozen or {})})

    @property
    def run(self) -> str:
        """Name of the run: two runs of one config have two, and a run that is resumed keeps its own."""
        return str(self._model()["run"])

    @property
    def buffers(self) -> frozenset[str]:
        """Names of statistics and counters among the weights."""
        return frozenset(self._model()["buffers"])

    @property
    def frozen(self) -> dict[str, str]:
        """By group, digests of the weights that do not travel."""
        return dict(self._model()["frozen"])

    def _model(self) -> dict[str, Any]:
        return _read(self.folder / _MODEL, "run", "buffers", "frozen")

    def keep_weights(self, number: int, weights: Weights) -> LazySafetensors:
        """Writes the weights of a round that does not count yet, so that they need not stay in memory."""
        save_weights(weights, self.path(number))
        return LazySafetensors(self.path(number))

    def save(
        self, number: int, strategy: Weights, facts: dict[str, Any], bank: Mapping[str, Arrays] | None = None
    ) -> None:
        """Finishes a round whose weights are kept: what else the next one needs, then the line that makes it count.

        Args:
            number: of it, counted from 1.
            strategy: state of it.
            facts: for history.
            bank: by site, rows that it gave for the next round.
        """
        if strategy:
            save_weights(strategy, self._strategy(number))
        self._bank(number).unlink(missing_ok=True)  # that of this round's earlier attempt: others may have given
        if bank:
            rows = {f"{site}/{name}": values for site, own in bank.items() for name, values in own.items()}
            save_weights(rows, self._bank(number))
        self.history.append({"round": number, **facts})
        write_json(self.folder / _HISTORY, {"config_digest": self.config_digest, "rounds": self.history})
        for path in (self.path, self._strategy, self._bank):
            path(number - self.keep).unlink(missing_ok=True)

    def resume(self) -> LazySafetensors | None:
        """The weights after the last finished round, with the history up to it; None if no round has finished.

        Raises:
            UserError: if the run was made with another config, or its files are gone or damaged.
        """
        path = self.folder / _HISTORY
        if not path.is_file():
            return None
        content = _read(path, "config_digest", "rounds")
        if content["config_digest"] != self.config_digest:
            raise UserError(f"{path}: these rounds ran with another config; set output= anew, or drop resume=true")
        self.history = content["rounds"]
        last = self.path(len(self.history))
        if not last.is_file():
            raise UserError(f"{last}: missing, though {path.name} counts it; drop resume=true to start anew")
        self._model()  # needed by every further round: found damaged now, not when sites have been called
        try:
            return LazySafetensors(last)
        except UserError as error:
            raise UserError(f"{error}, or take the last round out of {path} to go on from the one before") from error

    def strategy(self) -> Weights:
        """The strategy's state after the last finished round; empty where it keeps none."""
        path = self._strategy(len(self.history))
        return dict(LazySafetensors(path)) if path.is_file() else {}

    def bank(self) -> dict[str, Weights]:
        """By site, the rows that it gave at the end of the last finished round; nothing where no round has finished.

        Raises:
            UserError: if they are gone: the run would go on otherwise than it would have without a break.
        """
        path = self._bank(len(self.history))
        given = self.history[-1].get("bank", {}).get("rows") if self.history else None
        if given and not path.is_file():
            raise UserError(f"{path}: missing, though {_HISTORY} counts it; drop resume=true to start anew")
        found: dict[str, Weights] = {}
        for key, values in (LazySafetensors(path) if path.is_file() else {}).items():
            site, _, name = key.rpartition("/")
            found.setdefault(site, {})[name] = values
        return found

    def path(self, number: int) -> Path:
        """The checkpoint after a round, counted from 1; 0 is where the run starts from."""
        return self.folder / "rounds" / f"round_{number:04d}.safetensors"

    def _strategy(self, number: int) -> Path:
        return self.folder / "rounds" / f"strategy_{number:04d}.safetensors"

    def _bank(self, number: int) -> Path:
        return self.folder / "rounds" / f"bank_{number:04d}.safetensors"


def _read(path: Path, *needed: str) -> dict[str, Any]:
    """A JSON file that holds some keys.

    Raises:
        UserError: if it is gone or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        for key in needed:
            content[key]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not readable ({error!r}); restore it, or drop resume=true to start anew") from error
    return content
