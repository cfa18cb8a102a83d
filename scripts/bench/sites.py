"""Trainings that benchmarks of several hospitals compare: alone or pooled, and federated, in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from foundation.federation.groups import group_of
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.strategies.base import Strategy
from foundation.federation.task import RoundResult
from foundation.federation.weights.module import local_names, to_weights
from foundation.federation.weights.sharing import keep_local
from foundation.federation.weights.types import Weights
from foundation.federation.weights.update import SiteUpdate, difference
from pretrain.federated.bank.embeddings import fill, release
from pretrain.federated.bank.rows import Rows, for_site
from pretrain.federated.bank.settings import BankSettings
from pretrain.fit import build_module, fit_round

QUIET = ["progress=false", "validate_every=0", "monitor_every=0", "speed_every=0", "checkpoint_every=0", "loggers=[]"]

Update = Callable[[Weights, RoundResult], SiteUpdate]


@dataclass(frozen=True)
class Setting:
    """What all arms of a seed share: config, hospitals that train, rounds, steps of one, scratch folder."""

    cfg: DictConfig
    sites: list[str]
    rounds: int
    steps: int
    scratch: Path

    @property
    def total(self) -> int:
        return self.rounds * self.steps


def by_modality(before: Weights, result: RoundResult) -> SiteUpdate:
    """A site counts in the groups that it trained, by the patients that trained them."""
    return SiteUpdate(difference(before, result.weights), result.samples)


def with_gaps(before: Weights, result: RoundResult) -> SiteUpdate:
    """Plain FedAvg: a site counts in every group by its busiest one, with a change of zero where it trained none."""
    most = max(result.samples.values())
    trained = {name: value for name, value in result.weights.items() if result.samples.get(group_of(name))}
    return SiteUpdate(difference(before, trained), {group_of(name): most for name in before})


def alone(setting: Setting, hospitals: list[str], batch: int, steps: int | None = None) -> Weights:
    """One training on some hospitals' patients, as long as all rounds together unless `steps` are given."""
    cfg = setting.cfg.copy()
    cfg.data.batch_size = batch
    total = steps or setting.total
    return fit_round(cfg, hospitals, None, setting.scratch, total, 0, total).weights


def federated(
    setting: Setting,
    local: tuple[str, ...] = (),
    bank: BankSettings | None = None,
    update: Update = by_modality,
    strategy_of: Callable[[tuple[str, ...]], Strategy] = FedAvg,
) -> Weights:
    """Rounds of a strategy; what stays at a site, and what the sites' bank holds, as given."""
    module = build_module(setting.cfg, None, 0, setting.total)
    weights = to_weights(module.state_dict())
    buffers = frozenset(name for name, _ in module.named_buffers())
    strategy = strategy_of(local_names(module, local))
    local_weights: dict[str, Weights] = {site: {} for site in setting.sites}
    shared: dict[str, Rows] = {}
    noise = np.random.default_rng(setting.cfg.seed)  # to reproduce; a site draws from `secret_generator`
    for number in range(setting.rounds):
        start = number * setting.steps
        updates = {}
        for site in setting.sites:
            module = build_module(setting.cfg, {**weights, **local_weights[site]}, start, setting.total)
            if bank is not None:
                fill(module, for_site(shared, site))
            result = fit_round(
                setting.cfg, [site], None, setting.scratch, setting.steps, start, setting.total, module=module
            )
            local_weights[site] = keep_local(result.weights, strategy.local)
            updates[site] = update(weights, result)
        weights = strategy.combine(weights, updates, buffers).weights
        if bank is not None:
            shared = {site: release(setting.cfg, site, weights, bank, noise, strategy.local) for site in setting.sites}
    return weights
