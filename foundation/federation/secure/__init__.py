"""Secure aggregation by modality: the server learns sums over the sites, never one site's update or counts."""

from foundation.federation.secure.server import SecureRound, secure_round
from foundation.federation.secure.settings import Secure, SecureOrder, refuse_single_updates
from foundation.federation.secure.site import asked, crowd, masked_reply, secure_mod, submission

__all__ = [
    "Secure",
    "SecureOrder",
    "SecureRound",
    "asked",
    "crowd",
    "masked_reply",
    "refuse_single_updates",
    "secure_mod",
    "secure_round",
    "submission",
]
