"""The command of a federated task, from its config to its results."""

import shutil
import signal
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig, OmegaConf
from torch import nn

from foundation.command import plain
from foundation.errors import AlreadyFinished, NotDue, Stopped, UserError
from foundation.federation.planning import plan_of
from foundation.federation.policy.order import NOT_WEIGHTS, config_digest
from foundation.federation.report.page import write_report
from foundation.federation.runtime.continuing import earlier_of, place_earlier
from foundation.federation.runtime.operator import CohortFacts, check_askable
from foundation.federation.runtime.run import DEPLOYMENT, run
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.task import FederatedTask, federated_task
from foundation.federation.weights.module import frozen_digests, local_names, place, to_weights, travelling
from foundation.lineage import NOTE
from foundation.run_output import claim, clear
from foundation.run_record import FILE, RunRecord, is_finished


def federate(cfg: DictConfig, command: str) -> None:
    """Runs the rounds of a config's task and writes its results; told to stop, it leaves nothing running.

    Args:
        cfg: of `configs/federated.yaml` and what the task adds to it.
        command: as the run record names it.

    Raises:
        UserError: with the line of what ended the run.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _federate(cfg, command)
    except NotDue as waits:
        raise AlreadyFinished(str(waits)) from waits
    except KeyboardInterrupt:
        raise Stopped(f"{cfg.output}: stopped; go on with resume=true") from None


def _federate(cfg: DictConfig, command: str) -> None:
    output, task = Path(cfg.output), federated_task(cfg)
    cohort = _cohort(cfg, task)
    if cfg.sites is None:
        OmegaConf.update(cfg, "sites", list(cohort.hospitals))
    if set(cfg.data.test_hospitals) >= set(cfg.sites):
        raise UserError("data.test_hospitals: every hospital is held out; leave one to train")
    module = task.build()
    local = local_names(module, cfg.strategy.get("local") or [])
    OmegaConf.update(cfg, "strategy.local", list(local), force_add=True)
    extension = task.extension()
    if extension is not None:
        extension.check(module, local)
    if cfg.federation.kind == DEPLOYMENT:
        check_askable(cfg, plan_of(cfg))
    parents, digests = task.builds_on()
    depends_on = {"cohort": cohort.digest, **digests}
    claim(output, command, plain(cfg), depends_on, NOT_WEIGHTS, ends=False)
    checkpoints = Checkpoints(output, config_digest(plain(cfg)))
    begun = cfg.resume and checkpoints.resume() is not None
    if begun and is_finished(output) and len(checkpoints.history) == cfg.rounds:
        raise AlreadyFinished(f"{output}: all {cfg.rounds} rounds are finished already")
    if not begun:
        if (output / FILE).is_file():
            clear(output)
        shutil.rmtree(output / "rounds", ignore_errors=True)
        place_earlier(module, cfg.get("continues"), local, task.grafted)
        _begin(checkpoints, module, local)
    parents, facts = [*parents, *earlier_of(cfg.get("continues")), *cohort.builds_on()], cohort.facts()
    with RunRecord.open(output, command, plain(cfg), cfg.seed, parents, facts, depends_on) as record:
        place(module, dict(run(cfg, checkpoints)), {}, local)
        exported = task.export(module, output)
        _note(record, checkpoints, task)
    report = write_report(output, [Path(other) for other in cfg.compare])
    print(f"{exported.name}: {exported}\nhistory: {output / 'history.json'}\nreport: {report}")


def _cohort(cfg: DictConfig, task: FederatedTask) -> CohortFacts:
    """What the command may know of the cohort: all of it where this machine simulates hospitals, else no patient."""
    folder = Path(cfg.data.folder)
    facts = CohortFacts.read(folder)
    if cfg.federation.kind == DEPLOYMENT:
        facts.check_name(cfg.cohort.name)
    else:
        task.cohort.check_name(cfg.cohort.name)
        _ = task.split  # one that cannot be made is an error now, not at the sites
    return facts


def _begin(checkpoints: Checkpoints, module: nn.Module, local: tuple[str, ...]) -> None:
    state, names = to_weights(module.state_dict()), travelling(module, local)
    buffers = {name for name, _ in module.named_buffers()} & names
    checkpoints.begin({name: state[name] for name in names}, buffers, frozen_digests(module, local))


def _note(record: RunRecord, checkpoints: Checkpoints, task: FederatedTask) -> None:
    last, extension = checkpoints.history[-1], task.extension()
    record.metrics.update({"evaluation": last["evaluation"]})
    record.note("coverage", last["coverage"])
    record.note("privacy", last.get("privacy"))
    if extension is not None:
        record.note(extension.name, extension.note(checkpoints.history))
    record.note("absent", {line["round"]: line["absent"] for line in checkpoints.history if line["absent"]})
    hospitals = sorted({site for line in checkpoints.history for site in line["training"]})
    record.note(NOTE, {"hospitals": hospitals, "run": checkpoints.run})
    for name, content in task.notes().items():
        record.note(name, content)
    record.note("samples", {site: facts["samples"] for site, facts in last["training"].items()})


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
