"""A site's round: the ordinary training from given weights, in this process or as a job of several.

`python -m foundation.federation.site.round <job folder>` is one process of such a job; `run_round` starts it.
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from foundation.engine.deepspeed import consolidated_state
from foundation.engine.drift_correction import DriftCorrection, control_change, correction_of
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.site.job import Job, read_job, read_result, write_job, write_result
from foundation.federation.site.launch import end_with_parent, launch, processes_of
from foundation.federation.site.state import SiteState, control_of, local_of, optimizer_state_of, write_site_state
from foundation.federation.task import FederatedTask, RoundArrays, RoundOptions, RoundResult
from foundation.federation.weights.module import frozen_digests, local_names, place, to_weights, travelling
from foundation.federation.weights.sharing import check_frozen, keep_local
from foundation.files import write_text
from foundation.run_record import is_main_process

_MODULE = "foundation.federation.site.round"


def run_round(task: FederatedTask, options: RoundOptions, arrays: RoundArrays) -> RoundResult:
    """Trains at a site for a round, in this process or, where the trainer's config wants several, as a job of them.

    Args:
        task: at the site.
        options: what the round is.
        arrays: what it starts from.

    Returns:
        What travels, with the samples that trained it. A group that the round did not train comes back as it was sent.

    Raises:
        UserError: with one line, whichever process it comes from.
    """
    needs_state = {"keep_optimizer": options.keep_optimizer, "local": options.local, "SCAFFOLD": options.scaffold}
    wanted = [name for name, asked in needs_state.items() if asked]
    if wanted and options.state is None:
        raise UserError(f"site: {wanted[0]} needs a state folder; give `state` in site.yaml")
    try:
        kept = None if options.state is None else SiteState(Path(options.state), task.state_digest)
        before = None if kept is None else kept.at(options.start_step)
        writing = None if kept is None else kept.open()
        job = Job(options, None if before is None else str(before), None if writing is None else str(writing))
        count = processes_of(task.cfg.trainer)
        result = _launched(task, job, arrays, count) if count else _train(task, job, arrays)
        if kept is not None and writing is not None:
            kept.keep(writing, options.start_step, options.start_step + options.steps)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"site {task.hospital}: round not kept: {error}; free or mend the disk, then run it again"
        ) from error
    return result


def _train(task: FederatedTask, job: Job, arrays: RoundArrays) -> RoundResult:
    """The round itself, in one process or in each of several."""
    options = job.options
    before, writing = (None if path is None else Path(path) for path in (job.before, job.writing))
    module = task.build(options.start_step, options.total_steps)
    options = replace(options, local=local_names(module, options.local))
    place(module, arrays.weights, local_of(before), options.local)
    extension = task.extension()
    if extension is not None:
        extension.before_training(module, arrays.extension)
    digests = frozen_digests(module, options.local)
    check_frozen(digests, options.frozen)
    names = travelling(module, options.local)
    learning = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    groups = {name: group_of(name) for name in sorted(names & learning)}
    variate = control_of(before) if options.scaffold else {}
    drift = None
    if options.scaffold or options.proximal:
        correction = correction_of(arrays.control, variate, groups) if options.scaffold else None
        drift = DriftCorrection(groups, options.proximal, correction)
    optimizer_state = optimizer_state_of(before, writing) if writing is not None and options.keep_optimizer else None
    begun = consolidated_state(module)
    result = task.train(module, options, drift, optimizer_state, begun)
    if not is_main_process():
        return result
    start = to_weights(begun)
    # Processes in step decay weights that none of them trained; and statistics of a group move without it learning.
    end = {name: value if result.samples.get(group_of(name)) else start[name] for name, value in result.weights.items()}
    if options.scaffold and drift is not None:
        result.control = dict(control_change(start, end, arrays.control, groups, drift.rates))
        variate = variate | {name: np.add(variate.get(name, 0.0), value) for name, value in result.control.items()}
    if writing is not None:
        write_site_state(writing, keep_local(end, options.local), variate)
    result.weights = {name: end[name] for name in end if name in names}
    result.frozen = digests
    return result


def _launched(task: FederatedTask, job: Job, arrays: RoundArrays, count: int) -> RoundResult:
    folder = Path(job.options.scratch) / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        write_job(folder, task, job, arrays)
        launch(_MODULE, folder, count, job.options.seconds)
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
        write_text(folder / f"rank_{os.environ['RANK']}.error", str(error))  # read as soon as it is there
        sys.exit(2)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
