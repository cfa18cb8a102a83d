"""A site's round: the ordinary training from given weights, in this process or as a job of several.

`python -m foundation.federation.site.round <job folder>` is one process of such a job; `run_round` starts it.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError

from foundation.engine.deepspeed import consolidated_state
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.site.job import Given, Job, read_job, read_result, write_job, write_result
from foundation.federation.site.launch import end_with_parent, launch, processes_of
from foundation.federation.site.state import SiteState, control_of, local_of, memory_of, write_own
from foundation.federation.weights.sharing import check_frozen, frozen_digests, keep_local, place, travelling
from foundation.federation.weights.types import Weights
from foundation.run_record import is_main_process
from pretrain.federated.bank.embeddings import fill
from pretrain.fit import RoundResult, build_module, fit_round, to_weights
from pretrain.steering import Steering, SteeringOrder, control_change, correction_of

_MODULE = "foundation.federation.site.round"


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
    bank: Weights | None = None,
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
        bank: by modality, protected embeddings of other sites' patients; None where the run has no bank.
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
        job = Job(
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
        given = Given(weights, dict(steering.control) if steering else {}, bank)
        count = processes_of(cfg.trainer)
        result = _launched(cfg, job, given, count, seconds) if count else _train(cfg, job, given, seconds)
        if kept is not None and writing is not None:
            kept.keep(writing, start_step, start_step + steps)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"site {hospital}: round not kept: {error}; free or mend the disk, then run it again"
        ) from error
    return result


def _train(cfg: DictConfig, job: Job, given: Given, seconds: float | None = None) -> RoundResult:
    """The round itself, in one process or in each of several."""
    before, writing = (None if path is None else Path(path) for path in (job.before, job.writing))
    module = build_module(cfg, None, job.start_step, job.total_steps)
    place(module, given.weights, local_of(before), job.local)
    if given.bank is not None:
        fill(module, given.bank)
    digests = frozen_digests(module, job.local)
    check_frozen(digests, job.frozen)
    names = travelling(module, job.local)
    learning = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    groups = {name: group_of(name) for name in sorted(names & learning)}
    own = control_of(before) if job.scaffold else {}
    if job.scaffold or job.proximal:
        correction = correction_of(given.control, own, groups) if job.scaffold else None
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
        result.control = dict(control_change(start, end, given.control, groups, module.steering.rates))
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


def _launched(cfg: DictConfig, job: Job, given: Given, count: int, seconds: float | None) -> RoundResult:
    folder = Path(job.scratch) / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        write_job(folder, cfg, job, given)
        launch(_MODULE, folder, count, seconds)
        return read_result(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _process(folder: Path) -> None:
    """One process of a launched round; the first one writes the result."""
    result = _train(*read_job(folder))
    if is_main_process():
        write_result(folder, result)


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
