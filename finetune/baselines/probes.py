"""What a modality's plain features tell without a fit: nearest neighbours, and class means of a few patients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.experts.blocks import Axes
from finetune.experts.responses import Floats, Hazard, Label, Response
from finetune.heads.base import Columns, Head

SHOTS = (1, 2, 5, 10, 25)
NEIGHBOURS = 20
_DRAWS = 20
_CLASSIFICATION = ("classification", "multi-label classification")


def probes(head: Head, train: Floats, targets: Columns, test: Floats, tested: Columns, seed: int) -> dict[str, Any]:
    """The primary metric of both kinds of probe, on test patients who have the modality.

    Args:
        head: of the task.
        train: features of training patients, `[patients, size]`; who lacks the modality is NaN.
        targets: of the training patients.
        test: features of test patients.
        tested: targets of the test patients.
        seed: of who is drawn.

    Returns:
        `neighbours`: k, n and value; `few_shot`: by patients a class, mean and standard deviation over draws. Empty
        where too few have the modality, or the metric is not defined.
    """
    there, asked = _present(train), _present(test)
    judged = {name: column[asked] for name, column in tested.items()}
    metric = next(iter(head.metrics().values()))
    if there.sum() <= NEIGHBOURS or asked.sum() < 2 or not metric.defined(*judged.values()):
        return {}
    axes = Axes.of(train[there])
    known, unknown = (_unit(axes.project(values)) for values in (train[there], test[asked]))
    responses = head.ranking_responses({name: column[there] for name, column in targets.items()})

    def value(scores: list[Floats]) -> float:
        table = scores[0] if len(scores) == 1 else np.stack(scores, axis=1)
        return float(metric.value(*judged.values(), table))

    near = [neighbour_scores(known, response, unknown, NEIGHBOURS) for response in responses]
    probed: dict[str, Any] = {"neighbours": {"k": NEIGHBOURS, "n": int(asked.sum()), "value": value(near)}}
    if head.kind in _CLASSIFICATION:
        rng = np.random.default_rng(seed)
        labels = [response.values for response in responses if isinstance(response, Label)]
        probed["few_shot"] = {}
        for shots in SHOTS:
            if all(min((label == 0).sum(), (label == 1).sum()) >= shots for label in labels):
                drawn = [
                    value([few_shot_scores(known, label, unknown, shots, rng) for label in labels])
                    for _ in range(_DRAWS)
                ]
                probed["few_shot"][shots] = {"mean": float(np.mean(drawn)), "sd": float(np.std(drawn, ddof=1))}
    return probed


def neighbour_scores(known: Floats, response: Response, asked: Floats, count: int) -> Floats:
    """What the nearest patients of whom a response is known had: their mean, or the log of events per hazard.

    Args:
        known: unit vectors, `[patients, size]`.
        response: of those patients.
        asked: unit vectors, `[others, size]`.
        count: of neighbours, by cosine.
    """
    rows = np.flatnonzero(response.known)
    nearest = rows[np.argsort(-(asked @ known[rows].T), axis=1, kind="stable")[:, :count]]
    if isinstance(response, Hazard):
        exposure = np.zeros(len(known))
        exposure[rows] = response.of(rows).exposure(np.zeros(len(rows)))
        events, expected = response.event[nearest].sum(axis=1), exposure[nearest].sum(axis=1)
        return np.asarray(np.log((events + 1) / (expected + 1)))
    return np.asarray(response.values[nearest].mean(axis=1))  # type: ignore[attr-defined]


def few_shot_scores(known: Floats, label: Floats, asked: Floats, shots: int, rng: np.random.Generator) -> Floats:
    """How much nearer to the mean of some patients with a label than of as many without (Snell et al. 2017)."""
    means = []
    for value in (1.0, 0.0):
        rows = rng.choice(np.flatnonzero(label == value), shots, replace=False)
        means.append(known[rows].mean(axis=0))
    with_label, without = ((asked - mean) ** 2 for mean in means)
    return np.asarray((without - with_label).sum(axis=1))


def _unit(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _present(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values).all(axis=1))
