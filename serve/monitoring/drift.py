"""Drift: how far what an endpoint is asked is from the patients by whom the model was checked.

The population stability index of two histograms of B bins, sum of (p - q) log(p / q); where both come of one population
it is about (1/n + 1/m) times a chi-square of B - 1 degrees of freedom (Yurdakul 2018), so a limit follows from how many
patients each holds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy.special import chdtri

from serve.monitoring.usage import Usage

LEAST = 0.1  # index below which a difference is none that matters, however sure
_CHANCE = 0.001  # of an index above its limit where nothing drifted
_SMOOTHING = 0.5  # patients added to each bin


@dataclass(frozen=True)
class Drift:
    """One comparison.

    Attributes:
        statistic: `scores` (out of distribution), `parts` (looked at) or `share` (of answers that have the modality).
        modality: whose.
        reference: patients behind the bundle's counts.
        answered: behind those of use.
        index: population stability index.
        limit: above which it is drift.
    """

    statistic: str
    modality: str
    reference: int
    answered: int
    index: float
    limit: float

    @property
    def drifted(self) -> bool:
        """Whether it is more than chance, and than what matters."""
        return self.index > self.limit


def compare(reference: Usage, usage: Usage) -> list[Drift]:
    """What is asked against the reference, modality by modality; nothing where either has no patient.

    Args:
        reference: of the bundle.
        usage: of the endpoint.
    """
    return [
        Drift(statistic, name, sum(before), sum(now), *_index(before, now))
        for statistic, name, before, now in _histograms(reference, usage)
        if sum(before) and sum(now)
    ]


def _histograms(reference: Usage, usage: Usage) -> Iterator[tuple[str, str, Sequence[int], Sequence[int]]]:
    for name in sorted(reference.modalities.keys() | usage.modalities.keys()):  # none of the bundle's may have had it
        before, now = reference.modalities.get(name, 0), usage.modalities.get(name, 0)
        yield "share", name, [before, reference.answered - before], [now, usage.answered - now]
    for statistic, rows, others in (
        ("scores", reference.scores, usage.scores),
        ("parts", reference.parts, usage.parts),
    ):
        for name in sorted(rows.keys() & others.keys()):
            yield statistic, name, rows[name], others[name]


def _index(before: Sequence[int], now: Sequence[int]) -> tuple[float, float]:
    """Index and limit, over the bins that either fills."""
    filled = [(one, other) for one, other in zip(before, now, strict=True) if one or other]
    bins = len(filled)
    if bins < 2:
        return 0.0, LEAST
    n, m = (sum(column) for column in zip(*filled, strict=True))
    shares = [
        ((one + _SMOOTHING) / (n + _SMOOTHING * bins), (other + _SMOOTHING) / (m + _SMOOTHING * bins))
        for one, other in filled
    ]
    index = sum((p - q) * math.log(p / q) for p, q in shares)
    return index, max(LEAST, (1 / n + 1 / m) * float(chdtri(bins - 1, _CHANCE)))
