"""Checkpoints on the server's disk: weights after each, and the history of all; the next round starts from the last."""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foundation.arrays import write_arrays
from foundation.errors import UserError
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import read_json, write_json

_HISTORY, _MODEL = "history.json", "rounds/model.json"
_ADVICE = "restore it, or drop resume=true to start anew"


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
        write_arrays(self.path(0), weights)
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
        return read_json(self.folder / _MODEL, _ADVICE, "run", "buffers", "frozen")

    def keep_weights(self, number: int, weights: Weights) -> LazySafetensors:
        """Writes the weights of a round that does not count yet, so that they need not stay in memory."""
        write_arrays(self.path(number), weights)
        return LazySafetensors(self.path(number))

    def save(
        self,
        number: int,
        strategy: Weights,
        facts: dict[str, Any],
        extension: tuple[str, Mapping[str, Arrays]] | None = None,
    ) -> None:
        """Finishes a round whose weights are kept: what else the next one needs, then the line that makes it count.

        Args:
            number: of it, counted from 1.
            strategy: state of it.
            facts: for history.
            extension: its name, and by site what that gave for the next round; None where the run has none.
        """
        if strategy:
            write_arrays(self._strategy(number), strategy)
        if extension is not None:
            self._save_extension(number, *extension)
        self.history.append({"round": number, **facts})
        write_json(self.folder / _HISTORY, {"config_digest": self.config_digest, "rounds": self.history})
        for path in (self.path, self._strategy):
            path(number - self.keep).unlink(missing_ok=True)

    def end(self) -> None:
        """Marks a run without rounds as done."""
        write_json(self.folder / _HISTORY, {"config_digest": self.config_digest, "rounds": []})

    def _save_extension(self, number: int, name: str, by_site: Mapping[str, Arrays]) -> None:
        for old in (number, number - self.keep):  # of this round's earlier attempt: others may have given
            self._extension(name, old).unlink(missing_ok=True)
        arrays = {f"{site}/{key}": value for site, of_site in by_site.items() for key, value in of_site.items()}
        if arrays:
            write_arrays(self._extension(name, number), arrays)

    def resume(self) -> LazySafetensors | None:
        """The weights after the last finished round, with the history up to it; None if no round has finished.

        Raises:
            UserError: if the run was made with another config, or its files are gone or damaged.
        """
        path = self.folder / _HISTORY
        if not path.is_file():
            return None
        content = read_json(path, _ADVICE, "config_digest", "rounds")
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

    def latest(self) -> LazySafetensors:
        """The weights to go on from; see `resume`."""
        return self.resume() or LazySafetensors(self.path(0))

    def strategy(self) -> Weights:
        """The strategy's state after the last finished round; empty where it keeps none."""
        path = self._strategy(len(self.history))
        return dict(LazySafetensors(path)) if path.is_file() else {}

    def extension(self, name: str) -> dict[str, Weights]:
        """By site, what it gave for an extension at the end of the last finished round; nothing before the first.

        Raises:
            UserError: if it is gone: the run would go on otherwise than it would have without a break.
        """
        path = self._extension(name, len(self.history))
        counted = self.history[-1].get(name, {}).get("rows") if self.history else None
        if counted and not path.is_file():
            raise UserError(f"{path}: missing, though {_HISTORY} counts it; drop resume=true to start anew")
        by_site: dict[str, Weights] = {}
        for key, value in (LazySafetensors(path) if path.is_file() else {}).items():
            site, _, array = key.rpartition("/")
            by_site.setdefault(site, {})[array] = value
        return by_site

    def path(self, number: int) -> Path:
        """The checkpoint after a round, counted from 1; 0 is where the run starts from."""
        return self.folder / "rounds" / f"round_{number:04d}.safetensors"

    def _strategy(self, number: int) -> Path:
        return self.folder / "rounds" / f"strategy_{number:04d}.safetensors"

    def _extension(self, name: str, number: int) -> Path:
        return self.folder / "rounds" / f"{name}_{number:04d}.safetensors"
