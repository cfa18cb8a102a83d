"""What a site makes of an order: its round of training, and the update that may travel."""

from pathlib import Path

from foundation.federation.privacy import training_settings
from foundation.federation.site.config import Site
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.weights.sharing import place
from foundation.federation.wire.messages import Order
from pretrain.fit import RoundResult, build_module
from pretrain.module import PretrainModule
from pretrain.steering import SteeringOrder


def train_here(site: Site, order: Order, scratch: Path) -> RoundResult:
    """The ordinary training of a round, at a site, with its own data, trainer and kept state."""
    cfg = site.own(order.cfg)
    return run_round(
        cfg,
        site.name,
        dict(order.weights),
        scratch,
        start_step=order.start_step,
        steps=cfg.steps_per_round,
        total_steps=cfg.rounds * cfg.steps_per_round,
        steering=SteeringOrder.of(training_settings(order.settings), order.control),
        state=state_of(site, order),
        keep_optimizer=cfg.keep_optimizer,
        local=list(cfg.strategy.get("local", [])),
        frozen=order.frozen,
        bank=None if cfg.get("bank") is None else dict(order.bank),
        seconds=cfg.deadline,
    )


def module_here(site: Site, order: Order) -> PretrainModule:
    """The model as a site has it: what was sent, and its own local parts."""
    cfg = site.own(order.cfg)
    local = list(cfg.strategy.get("local", []))
    module = build_module(cfg, None, order.start_step, cfg.rounds * cfg.steps_per_round)
    kept = SiteState(state_of(site, order), cfg).at(order.start_step + cfg.steps_per_round)
    place(module, dict(order.weights), local_of(kept), local)
    return module


def state_of(site: Site, order: Order) -> Path:
    """Where this run's state lies at a site."""
    return site.state / order.run[:16]
