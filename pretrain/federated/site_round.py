"""A site's round: the ordinary training from given weights, in this process or as a job of several.

`python -m pretrain.federated.site_round <job folder>` is one process of such a job; `run_round` starts it.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError

from foundation.engine.deepspeed import consolidated_state
from foundation.errors import UserError
from foundation.run_record import is_main_process, write_json
from pretrain.federated.aggregation import group_of
from pretrain.federated.launch import end_with_parent, launch, processes_of
from pretrain.federated.partial import check_frozen, frozen_digests, keep_local, place, travelling
from pretrain.federated.site_state import (
    SiteState,
    control_of,
    local_of,
    memory_of,
    read_arrays,
    write_arrays,
    write_own,
)
from pretrain.fit import RoundResult, Weights, build_module, fit_round, to_weights
from pretrain.steering import Steering, SteeringOrder, control_change, correction_of

_MODULE = "pretrain.federated.site_round"


@dataclass(frozen=True)
class _Job:
    """A round, as the processes that train it are told.

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


def run_round(
    cfg: DictConfig,
    hospital: str,
    weights: Weights,
    scratch: Path,
    *,
    start_step: int,
    steps: int,
    total_steps: int,
    steering: SteeringOrder | None = None,
    state: Path | None = None,
    keep_optimizer: bool = False,
    local: Sequence[str] = (),
    frozen: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> RoundResult:
    """Trains at a site for a round, in this process or, where the trainer's config wants several, as a job of them.

    Args:
        cfg: the run's config with the site's own data and trainer in it.
        hospital: whose patients train.
        weights: at least what travels (see `travelling`).
        scratch: a folder for logs and for the job's files.
        start_step: steps of the whole run already taken; the learning-rate schedule goes on from there.
        steps: optimiser steps to take.
        total_steps: of the whole run.
        steering: what the strategy asks for.
        state: this run's folder at this site (see `SiteState`); nothing is kept without it.
        keep_optimizer: go on with the optimiser's state and the order of patients of this site's last round.
        local: patterns of names that stay at the site.
        frozen: by group, digests of the frozen weights that the server holds; None does not compare.
        seconds: to give up after; a job is killed then, a training in this process ends after its step.

    Returns:
        What travels, with the samples that taught it. A group that the round did not teach comes back as it was sent.

    Raises:
        UserError: with one line, whichever process found it.
    """
    wanted = [name for name, asked in (("keep_optimizer", keep_optimizer), ("local", local)) if asked]
    if steering is not None and steering.scaffold:
        wanted.append("SCAFFOLD")
    if wanted and state is None:
        raise UserError(f"site: {wanted[0]} needs a state folder; give `state` in site.yaml")
    if keep_optimizer and cfg.ema is not None:
        raise UserError("ema: an average of weights cannot go on with a kept optimiser; set ema=null")
    try:
        kept = None if state is None else SiteState(state, cfg)
        before = None if kept is None else kept.at(start_step)
        writing = None if kept is None else kept.open()
        job = _Job(
            hospital,
            str(scratch),
            start_step,
            steps,
            total_steps,
            proximal=steering.proximal if steering else 0.0,
            scaffold=bool(steering and steering.scaffold),
            local=list(local),
            keep_optimizer=keep_optimizer,
            frozen=None if frozen is None else dict(frozen),
            before=None if before is None else str(before),
            writing=None if writing is None else str(writing),
        )
        control = dict(steering.control) if steering else {}
        count = processes_of(cfg.trainer)
        result = (
            _launched(cfg, job, weights, control, count, seconds)
            if count
            else _train(cfg, job, weights, control, seconds)
        )
        if kept is not None and writing is not None:
            kept.keep(writing, start_step, start_step + steps)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"site {hospital}: round not kept: {error}; free or mend the disk, then run it again"
        ) from error
    return result


def _train(cfg: DictConfig, job: _Job, weights: Weights, control: Weights, seconds: float | None = None) -> RoundResult:
    """The round itself, in one process or in each of several."""
    before, writing = (None if path is None else Path(path) for path in (job.before, job.writing))
    module = build_module(cfg, None, job.start_step, job.total_steps)
    place(module, weights, local_of(before), job.local)
    digests = frozen_digests(module, job.local)
    check_frozen(digests, job.frozen)
    names = travelling(module, job.local)
    learning = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    groups = {name: group_of(name) for name in sorted(names & learning)}
    own = control_of(before) if job.scaffold else {}
    if job.scaffold or job.proximal:
        correction = correction_of(control, own, groups) if job.scaffold else None
        module.steering = Steering(groups, job.proximal, correction)
    begun = consolidated_state(module)
    result = fit_round(
        _for_round(cfg),
        [job.hospital],
        None,
        Path(job.scratch),
        job.steps,
        job.start_step,
        job.total_steps,
        module=module,
        memory=memory_of(before, writing) if writing is not None and job.keep_optimizer else None,
        masters=begun,
        seconds=seconds,
    )
    if not is_main_process():
        return result
    start = to_weights(begun)
    # Processes in step decay weights that none of them taught; and statistics of a group move without it learning.
    end = {name: value if result.samples.get(group_of(name)) else start[name] for name, value in result.weights.items()}
    if job.scaffold:
        assert module.steering is not None
        result.control = dict(control_change(start, end, control, groups, module.steering.rates))
        own = own | {name: np.add(own.get(name, 0.0), value) for name, value in result.control.items()}
    if writing is not None:
        write_own(writing, keep_local(end, job.local), own)
    result.weights = {name: end[name] for name in end if name in names}
    result.frozen = digests
    return result


def _for_round(cfg: DictConfig) -> DictConfig:
    """A round leaves no checkpoints of its own: the server keeps its weights, and the site its state."""
    found = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(found, DictConfig)
    found.checkpoint_every = 0
    return found


def _launched(
    cfg: DictConfig, job: _Job, weights: Weights, control: Weights, count: int, seconds: float | None
) -> RoundResult:
    folder = Path(job.scratch) / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
        write_json(folder / "job.json", asdict(job))
        write_arrays(folder / "weights.safetensors", weights)
        write_arrays(folder / "control.safetensors", control)
        launch(_MODULE, folder, count, seconds)
        found = json.loads((folder / "result.json").read_text())
        return RoundResult(
            read_arrays(folder / "result.safetensors"),
            found["samples"],
            found["metrics"],
            read_arrays(folder / "change.safetensors"),
            found["frozen"],
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _process(folder: Path) -> None:
    """One process of a launched round; the first one writes the result."""
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    job = _Job(**json.loads((folder / "job.json").read_text()))
    weights, control = (read_arrays(folder / f"{name}.safetensors") for name in ("weights", "control"))
    result = _train(cfg, job, weights, control)
    if is_main_process():
        write_arrays(folder / "result.safetensors", result.weights)
        write_arrays(folder / "change.safetensors", result.control)
        facts: dict[str, Any] = {"samples": result.samples, "metrics": result.metrics, "frozen": result.frozen}
        write_json(folder / "result.json", facts)


def main() -> None:
    """One process of a launched round."""
    folder = Path(sys.argv[1])
    end_with_parent()
    try:
        _process(folder)
    except UserError as error:
        # Under a temporary name first: the parent reads it as soon as it is there.
        path = folder / f"rank_{os.environ['RANK']}.error"
        path.with_suffix(".part").write_text(str(error))
        path.with_suffix(".part").replace(path)
        sys.exit(2)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
