"""Differential privacy by site: clipping, noise and what they spend; see `mechanism`."""

from foundation.federation.privacy.base import Privacy
from foundation.federation.privacy.mechanism import SitePrivacy
from foundation.federation.privacy.strategy import PrivateStrategy, private

__all__ = ["Privacy", "PrivateStrategy", "SitePrivacy", "private"]
