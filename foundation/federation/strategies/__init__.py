"""Aggregation rules, one file a family; `configs/strategy/` names them."""

from foundation.federation.strategies.base import Held, SiteUpdate, Strategy

__all__ = ["Held", "SiteUpdate", "Strategy"]
