"""A simulated site of a config, and orders of its plan as they arrive there."""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from foundation.federation.planning import installed_tasks, plan_of, settings_of
from foundation.federation.policy import SitePolicy
from foundation.federation.site.config import Site
from foundation.federation.site.gate import OrderType, PolicyGate
from foundation.federation.wire.messages import Order, pack_order, unpack_order

TASKS = settings_of(installed_tasks())


def site_of(cfg: DictConfig, folder: Path, name: str = "riverside", **rules: Any) -> Site:
    """A site on this machine, under a policy of some rules."""
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    policy = SitePolicy.model_validate(rules)
    return Site(name, None, policy, folder / f"{name}.jsonl", folder, simulated=resolved)


def arrived(order: Order) -> Order:
    """An order as a site reads it."""
    return unpack_order(pack_order(order), TASKS)


def gate_of(
    site: Site,
    cfg: DictConfig,
    order_type: OrderType = "train",
    weights: dict[str, np.ndarray] | None = None,
    masked: bool = False,
    number: int = 1,
    **more: Any,
) -> PolicyGate:
    """A gate before an order of a config's plan."""
    number = 0 if order_type == "statistics" else number
    order = Order(plan_of(cfg), weights or {}, "run-1", number, **more)
    return PolicyGate(site, arrived(order), order_type, masked)
