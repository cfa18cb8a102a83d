"""Aggregation rules, one file a family; `configs/strategy/` names them."""

from pretrain.federated.strategies.base import Held, SiteUpdate, Strategy

__all__ = ["Held", "SiteUpdate", "Strategy"]
