"""Differential privacy by site: clipping, noise and what they spend; see `mechanism`."""

from pretrain.federated.privacy.base import Privacy, Protected, training_settings
from pretrain.federated.privacy.mechanism import SitePrivacy
from pretrain.federated.privacy.strategy import PrivateStrategy, private

__all__ = ["Privacy", "PrivateStrategy", "Protected", "SitePrivacy", "private", "training_settings"]
