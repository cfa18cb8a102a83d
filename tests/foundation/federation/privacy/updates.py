"""Updates and mechanisms for tests of privacy."""

import itertools

import numpy as np

from foundation.federation.privacy import Privacy, SitePrivacy
from foundation.federation.privacy.clipping import Fixed
from foundation.federation.privacy.mechanism import SITES
from foundation.federation.weights.update import SiteUpdate

REPORT, FUSION, STATISTIC = (
    "encoder.modalities.report.weight",
    "encoder.fusion.weight",
    "encoder.fusion.bn.running_mean",
)
COUNT = "encoder.fusion.bn.num_batches_tracked"
BUFFERS = frozenset({STATISTIC, COUNT})
PREVIOUS = {
    REPORT: np.full((30, 40), 0.5, dtype=np.float32),
    FUSION: np.zeros(800, dtype=np.float32),
    STATISTIC: np.ones(4, dtype=np.float32),
    COUNT: np.array(2, dtype=np.int64),
}


def privacy(place: str = "server", multiplier: float = 1.0, clipping: Fixed | None = None, **more) -> SitePrivacy:
    """A mechanism whose secrets are 0, 1, 2 and so on."""
    found = SitePrivacy(multiplier, clipping or Fixed(1.0), place, **more)
    found.secret = itertools.count().__next__
    return found


def change(seed: int, size: float = 1.0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: (size * generator.standard_normal(PREVIOUS[name].shape)).astype(np.float32) for name in (REPORT, FUSION)
    }


def update(difference: dict[str, np.ndarray], **samples: int) -> SiteUpdate:
    return SiteUpdate(difference, samples or {"report": 5, "fusion": 5})


def protect(mechanism: Privacy, difference: dict[str, np.ndarray], samples: dict[str, int] | None = None, **settings):
    counts = samples or {"report": 5, "fusion": 5}
    sent = SiteUpdate(difference, counts, metrics={"loss": 1.0, "seconds": 2.0})
    return mechanism.protect(sent, PREVIOUS, {SITES: 4.0, **settings}, BUFFERS)
