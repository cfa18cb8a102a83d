"""The state that a site keeps from round to round: optimiser, local weights, SCAFFOLD's control variate."""

import shutil
from pathlib import Path

from foundation.arrays import read_arrays, write_arrays
from foundation.engine.optimizer_state import OptimizerState
from foundation.errors import UserError
from foundation.federation.weights.types import Weights
from foundation.files import read_json, write_json

_FACTS = "state.json"
_LOCAL, _CONTROL = "local", "control"


class SiteState:
    """A folder with a folder a step of the run, written whole or not at all.

    The state after the round before and that after the last one stay: if the server was killed before it had written a
    round down, it orders that round again, and the site does the same work from the same state. A site that missed
    rounds goes on from the last one it took part in.

    Args:
        folder: of one run at one site.
        digest: `FederatedTask.state_digest` of the run; the state of another model or optimiser is refused.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        self.digest = digest

    def at(self, step: int) -> Path | None:
        """The state to go on from at a step of the run: the latest one up to it; None if there is none.

        Raises:
            UserError: if it belongs to another run.
        """
        earlier = [path for path in self.folder.glob("step_*") if int(path.name.removeprefix("step_")) <= step]
        if not earlier:
            return None
        latest = max(earlier)
        if read_json(latest / _FACTS, f"remove {latest} to begin anew", "digest")["digest"] != self.digest:
            raise UserError(f"{latest}: kept by a run with another model, optimiser or seed; move {self.folder} away")
        return latest

    def open(self) -> Path:
        """An empty folder to write the next state into."""
        writing = self.folder / ".writing"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        return writing

    def keep(self, writing: Path, start: int, end: int) -> None:
        """Makes what was written the state after a step, and drops what no round can need any more."""
        write_json(writing / _FACTS, {"digest": self.digest, "step": end})
        before = self.at(start)
        target = self._path(end)
        if target.exists():  # the same round again
            shutil.rmtree(target)
        writing.replace(target)
        for path in self.folder.glob("step_*"):
            if path not in (before, target):
                shutil.rmtree(path)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"


def optimizer_state_of(before: Path | None, writing: Path) -> OptimizerState:
    """Where the optimiser goes on from, and where it is written."""
    after = writing / "optimizer"
    after.mkdir(exist_ok=True)
    earlier = None if before is None else before / "optimizer"
    return OptimizerState(earlier if earlier is not None and earlier.is_dir() else None, after)


def local_of(before: Path | None) -> Weights:
    """The site's local weights; none before its first round."""
    return _kept(before, _LOCAL)


def control_of(before: Path | None) -> Weights:
    """The site's control variate; none before its first round."""
    return _kept(before, _CONTROL)


def write_site_state(writing: Path, local: Weights, control: Weights) -> None:
    """Writes local weights and control variate."""
    for name, arrays in ((_LOCAL, local), (_CONTROL, control)):
        if arrays:
            write_arrays(writing / f"{name}.safetensors", arrays)


def _kept(before: Path | None, name: str) -> Weights:
    path = before / f"{name}.safetensors" if before else None
    return read_arrays(path, "remove its folder to begin anew") if path and path.exists() else {}
