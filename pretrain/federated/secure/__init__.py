"""Secure aggregation by modality: the server learns sums over the sites, never one site's update or counts."""

from pretrain.federated.secure.server import SecureRound, secure_round
from pretrain.federated.secure.settings import Secure, SecureOrder, refuse_single_updates
from pretrain.federated.secure.site import asked, masked_reply, masking_sites, secure_mod, submission

__all__ = [
    "Secure",
    "SecureOrder",
    "SecureRound",
    "asked",
    "masked_reply",
    "masking_sites",
    "refuse_single_updates",
    "secure_mod",
    "secure_round",
    "submission",
]
