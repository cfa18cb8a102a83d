"""Parts of a patient's modality taken away one by one, such as tiles and words, and whether that is faithful."""

from collections.abc import Callable

import numpy as np

from foundation.statistics.figure import Figure, Support
from foundation.statistics.table import Floats, Integers

Keep = Callable[[list[list[int]]], Floats]  # scores where only these parts of a patient are shown
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
_RANDOM = 5


def falls(keep: Keep, count: int) -> Floats:
    """How far the score falls without each part: `[parts]`; needs two parts at least."""
    everything = list(range(count))
    rest = [[part for part in everything if part != left] for left in everything]
    scores = keep([everything, *rest])
    return np.asarray(scores[0] - scores[1:])


def curves(keep: Keep, fall: Floats, seed: int) -> tuple[Floats, Floats]:
    """Falls of the score by share taken away: parts of the largest fall first, and at random: `[shares]` each.

    One part always stays, for a model has no score of nothing.
    """
    count, rng = len(fall), np.random.default_rng(seed)
    orders = [np.argsort(-fall, kind="stable"), *(rng.permutation(count) for _ in range(_RANDOM))]
    away = [min(count - 1, int(np.ceil(share * count))) for share in SHARES]
    shown = [sorted(order[some:].tolist()) for order in orders for some in away]
    scores = keep([list(range(count)), *shown])
    change = (scores[0] - scores[1:]).reshape(len(orders), len(SHARES))
    return change[0], change[1:].mean(axis=0)


def figures(ordered: Floats, random: Floats, weights: Integers, parts: str) -> dict[str, Figure]:
    """Areas over the deletion curves of patients `[patients, shares]`, over replicates `[replicates, patients]`."""
    total = weights.sum(axis=1)
    texts = {
        "deletion": f"mean fall of score over shares of {parts} deleted, what it goes by first (Samek et al. 2017)",
        "deletion_random": "the same in random order",
        "deletion_gain": "mean fall of the score, what it goes by first, less in random order",
    }
    areas = (ordered.mean(axis=1), random.mean(axis=1), (ordered - random).mean(axis=1))
    return {
        name: Support().figure(weights @ area / total, len(area), {}, texts[name])
        for name, area in zip(texts, areas, strict=True)
    }
