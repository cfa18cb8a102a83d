"""A site's round of training from an order, and its model for an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foundation.engine.drift_correction import DriftSettings
from foundation.federation.privacy import training_settings
from foundation.federation.site.config import Site
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.task import RoundArrays, RoundOptions, RoundResult
from foundation.federation.weights.module import place
from foundation.federation.wire.messages import Order

if TYPE_CHECKING:
    from torch import nn

    from foundation.federation.site.gate import PolicyGate


def train_here(gate: PolicyGate, scratch: Path) -> RoundResult:
    """The ordinary training of a round, at a site, with its own data, trainer and kept state."""
    order, cfg = gate.order, gate.task.cfg
    drift = DriftSettings.of(training_settings(order.settings))
    options = RoundOptions(
        scratch=str(scratch),
        start_step=order.start_step,
        steps=cfg.steps_per_round,
        total_steps=cfg.rounds * cfg.steps_per_round,
        state=str(state_of(gate.site, order)),
        proximal=drift.proximal,
        scaffold=drift.scaffold,
        keep_optimizer=cfg.keep_optimizer,
        local=list(cfg.strategy.get("local", [])),
        frozen=order.frozen,
        seconds=cfg.deadline,
    )
    return run_round(gate.task, options, RoundArrays(dict(order.weights), dict(order.control), dict(order.extension)))


def module_here(gate: PolicyGate) -> nn.Module:
    """The model as a site has it: what was sent, and its own local parts."""
    order, task = gate.order, gate.task
    local = list(task.cfg.strategy.get("local", []))
    module = task.build(order.start_step, task.cfg.rounds * task.cfg.steps_per_round)
    kept = SiteState(state_of(gate.site, order), task.state_digest).at(order.start_step + task.cfg.steps_per_round)
    place(module, dict(order.weights), local_of(kept), local)
    return module


def state_of(site: Site, order: Order) -> Path:
    """Where this run's state lies at a site."""
    return site.state / order.run[:16]
