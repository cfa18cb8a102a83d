"""Rounds on the server's disk: weights after each, and the history of all; the next round starts from the last."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from foundation.errors import UserError
from foundation.run_record import write_json
from pretrain.fit import Weights

_HISTORY = "history.json"


class Rounds:
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

    def save(self, number: int, weights: Weights, facts: dict[str, Any]) -> None:
        """Writes a finished round: first its weights, then its line of history, which makes it count."""
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        save_file(weights, temporary)
        temporary.replace(path)
        self.history.append({"round": number, **facts})
        write_json(self.folder / _HISTORY, {"config_digest": self.config_digest, "rounds": self.history})
        self.path(number - self.keep).unlink(missing_ok=True)

    def resume(self) -> Weights | None:
        """The weights after the last finished round, with the history up to it; None if no round has finished.

        Raises:
            UserError: if the run was made with another config, or its checkpoint is gone.
        """
        path = self.folder / _HISTORY
        if not path.is_file():
            return None
        content = json.loads(path.read_text())
        if content["config_digest"] != self.config_digest:
            raise UserError(f"{path}: these rounds ran with another config; set output= anew, or drop resume=true")
        self.history = content["rounds"]
        last = self.path(len(self.history))
        if not last.is_file():
            raise UserError(f"{last}: missing, though {path.name} counts it; drop resume=true to start anew")
        weights: Weights = load_file(last)
        return weights

    def path(self, number: int) -> Path:
        """The checkpoint after a round, counted from 1."""
        return self.folder / "rounds" / f"round_{number:04d}.safetensors"
