"""A site's round as the processes that train it read it: a folder of files."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.arrays import read_arrays, write_arrays
from foundation.federation.task import FederatedTask, RoundArrays, RoundOptions, RoundResult
from foundation.federation.weights.types import Weights
from foundation.files import read_json, write_json

_ADVICE = "make room on the disk, and train the round again"
_ARRAYS = ("weights", "control", "extension")  # of `RoundArrays`, a file each


@dataclass(frozen=True)
class Job:
    """A round, and where the site's state lies.

    Attributes:
        options: of the round.
        before: state to go on from.
        writing: folder for the state after the round; none is kept if None.
    """

    options: RoundOptions
    before: str | None = None
    writing: str | None = None


def write_job(folder: Path, task: FederatedTask, job: Job, arrays: RoundArrays) -> None:
    """What the processes start from."""
    OmegaConf.save(task.cfg, folder / "config.yaml", resolve=True)
    kind, home = f"{type(task).__module__}:{type(task).__qualname__}", None if task.home is None else str(task.home)
    write_json(folder / "job.json", {"task": kind, "hospital": task.hospital, "home": home, **asdict(job)})
    for name in _ARRAYS:
        write_arrays(folder / f"{name}.safetensors", getattr(arrays, name))


def read_job(folder: Path) -> tuple[FederatedTask, Job, RoundArrays]:
    """The same in one of them, which gives up no sooner than the job is killed."""
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    content = read_json(folder / "job.json", _ADVICE)
    task: FederatedTask = resolve_name(content["task"])(cfg, content["hospital"])
    task.home = None if content["home"] is None else Path(content["home"])
    options = replace(RoundOptions(**content["options"]), seconds=None)
    arrays: dict[str, Weights] = {name: read_arrays(folder / f"{name}.safetensors", _ADVICE) for name in _ARRAYS}
    return task, Job(options, content["before"], content["writing"]), RoundArrays(**arrays)


def write_result(folder: Path, result: RoundResult) -> None:
    """What the first process gives back."""
    write_arrays(folder / "result.safetensors", result.weights)
    write_arrays(folder / "change.safetensors", result.control)
    facts: dict[str, Any] = {"samples": result.samples, "metrics": result.metrics, "frozen": result.frozen}
    write_json(folder / "result.json", facts)


def read_result(folder: Path) -> RoundResult:
    """The same where the job was launched."""
    facts = read_json(folder / "result.json", _ADVICE)
    return RoundResult(
        read_arrays(folder / "result.safetensors", _ADVICE),
        facts["samples"],
        facts["metrics"],
        read_arrays(folder / "change.safetensors", _ADVICE),
        facts["frozen"],
    )
