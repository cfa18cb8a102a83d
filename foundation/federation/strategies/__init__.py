"""Aggregation rules, one file a family; `configs/strategy/` names them."""

from foundation.federation.strategies.base import Strategy

__all__ = ["Strategy"]
