"""A site's round as the processes that train it are told: a folder of files, read by each of them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.federation.site.state import read_arrays, write_arrays
from foundation.federation.weights.types import Weights
from foundation.files import write_json
from pretrain.fit import RoundResult

_BANK = "bank.safetensors"  # only where the run has a bank


@dataclass(frozen=True)
class Job:
    """What a round is, in plain values.

    Attributes:
        hospital: whose patients.
        scratch: for logs.
        start_step: see `run_round`, as for the others that it names.
        before: state to go on from.
        writing: folder for the state after the round; none is kept if None.
    """

    hospital: str
    scratch: str
    start_step: int
    steps: int
    total_steps: int
    proximal: float = 0.0
    scaffold: bool = False
    local: list[str] = field(default_factory=list)
    keep_optimizer: bool = False
    frozen: dict[str, str] | None = None
    before: str | None = None
    writing: str | None = None


@dataclass(frozen=True)
class Given:
    """Arrays that a round starts from.

    Attributes:
        weights: at least what travels.
        control: the server's control variate (SCAFFOLD).
        bank: see `run_round`.
    """

    weights: Weights
    control: Weights
    bank: Weights | None = None


def write_job(folder: Path, cfg: DictConfig, job: Job, given: Given) -> None:
    """What the processes start from."""
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    write_json(folder / "job.json", asdict(job))
    write_arrays(folder / "weights.safetensors", given.weights)
    write_arrays(folder / "control.safetensors", given.control)
    if given.bank is not None:
        write_arrays(folder / _BANK, given.bank)


def read_job(folder: Path) -> tuple[DictConfig, Job, Given]:
    """The same in one of them."""
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    job = Job(**json.loads((folder / "job.json").read_text()))
    weights, control = (read_arrays(folder / f"{name}.safetensors") for name in ("weights", "control"))
    bank = read_arrays(folder / _BANK) if (folder / _BANK).is_file() else None
    return cfg, job, Given(weights, control, bank)


def write_result(folder: Path, result: RoundResult) -> None:
    """What the first process gives back."""
    write_arrays(folder / "result.safetensors", result.weights)
    write_arrays(folder / "change.safetensors", result.control)
    facts: dict[str, Any] = {"samples": result.samples, "metrics": result.metrics, "frozen": result.frozen}
    write_json(folder / "result.json", facts)


def read_result(folder: Path) -> RoundResult:
    """The same where the job was launched."""
    found = json.loads((folder / "result.json").read_text())
    return RoundResult(
        read_arrays(folder / "result.safetensors"),
        found["samples"],
        found["metrics"],
        read_arrays(folder / "change.safetensors"),
        found["frozen"],
    )
