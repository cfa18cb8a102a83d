"""Epsilon and what it rests on, for the run record."""

from typing import Any

from foundation.federation.privacy.accountant import REPLACED, Accountant
from foundation.federation.privacy.mechanism import SitePrivacy

_TRUSTED = {
    "server": "The server adds the noise and is trusted; sites and readers of the model are not.",
    "site": "Each site adds all of its own noise; nobody else is trusted.",
    "shares": "Updates are masked (secure aggregation), and every site in a sum added its share of the noise.",
}


def privacy_record(privacy: SitePrivacy, counted: Accountant, clip: float, secure: bool) -> dict[str, Any]:
    """What a run has spent, and on which assumptions.

    Args:
        privacy: of the run.
        counted: so far.
        clip: of the next round.
        secure: whether updates were masked.
    """
    return {
        "level": "site",
        "epsilon": counted.epsilon(),
        "delta": privacy.delta,
        "epsilon_if_replaced": counted.epsilon(REPLACED),
        "releases": counted.releases,
        "noise_multiplier": privacy.noise_multiplier,
        "update_noise_multiplier": privacy.update_noise,
        "vote_noise": privacy.vote_noise,
        "clip": clip,
        "clipping": type(privacy.clipping).__name__.lower(),
        "place": privacy.place,
        "accountant": "exact composition of Gaussian mechanisms (Balle and Wang 2018; Dong, Roth and Su 2022)",
        "neighbours": "one site's update and vote, in all rounds, set to zero",
        "sampling": "none: every site may be in every round, so nothing is gained by sampling",
        "assumptions": _assumptions(privacy, secure),
    }


def _assumptions(privacy: SitePrivacy, secure: bool) -> list[str]:
    return [
        _TRUSTED[privacy.place],
        "Who takes part and which parameter groups a site trains are public.",
        "Evaluation metrics and seconds that sites send are not protected.",
        *(["The server's own notes of single updates (lengths, cosines) are not protected."] if not secure else []),
        *(["Updates are masked, so the server cannot see that every site clipped its own."] if secure else []),
        *(["Training losses that sites send are not protected."] if privacy.training_metrics else []),
        "Noise is drawn in double precision from a secret of the operating system; attacks on the last bits of "
        "floating-point noise (Mironov 2012) are not countered.",
    ]
