"""A site's round of training from an order, and its model for an evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.federation.site.config import Site
from foundation.federation.site.launch import processes_of
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.task import RoundArrays, RoundOptions, RoundResult
from foundation.federation.weights.module import local_names, place
from foundation.federation.wire.messages import Order
from foundation.run_record import digest_of

if TYPE_CHECKING:
    from torch import nn

    from foundation.federation.site.gate import PolicyGate


def train_here(gate: PolicyGate, scratch: Path) -> RoundResult:
    """The ordinary training of a round, at a site, with its own data, trainer and kept state."""
    order, plan = gate.order, gate.order.plan
    options = RoundOptions(
        scratch=str(scratch),
        start_step=order.start_step,
        steps=plan.steps,
        total_steps=plan.rounds * plan.steps,
        state=str(state_of(gate.site, order)),
        proximal=plan.strategy.proximal,
        scaffold=plan.strategy.scaffold,
        keep_optimizer=plan.keep_optimizer,
        local=plan.strategy.local,
        frozen=order.frozen,
        seconds=plan.deadline,
    )
    return run_round(gate.task, options, RoundArrays(dict(order.weights), dict(order.control), dict(order.extension)))


def module_here(gate: PolicyGate) -> nn.Module:
    """The model as a site has it: what was sent, and its own local parts."""
    order, task, plan = gate.order, gate.task, gate.order.plan
    module = task.build(order.start_step, plan.rounds * plan.steps)
    kept = SiteState(state_of(gate.site, order), task.state_digest).at(order.start_step + plan.steps)
    place(module, dict(order.weights), local_of(kept), local_names(module, plan.strategy.local))
    return module


def state_of(site: Site, order: Order) -> Path:
    """Where this run's state lies at a site: a folder that the site names, from a digest of the run's name."""
    return site.state / digest_of(order.run)[:16]


def epochs_of(gate: PolicyGate, patients: int) -> int:
    """How often any one patient can have been in a step of this round.

    A process takes each of its patients once before any of them again, and leaves out those that fill no batch.
    """
    plan, trainer = gate.order.plan, gate.task.cfg.trainer
    batch = plan.settings.batch_size
    if batch is None:
        return plan.steps
    together = batch * max(1, processes_of(trainer))
    batches = plan.steps * int(trainer.get("accumulate_grad_batches") or 1)
    return math.ceil(batches / max(1, patients // together)) + plan.keep_optimizer
