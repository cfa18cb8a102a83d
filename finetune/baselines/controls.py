"""Controls of a model that reads several modalities: pairs shuffled within hospitals, and what tells the hospital."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

from finetune.experts.blocks import Axes
from finetune.experts.responses import Floats

_FEWEST = 10  # patients of a hospital, for a probe to learn it
_FOLDS = 5


def shuffled(features: Floats, sizes: list[int], hospitals: NDArray[np.str_], seed: int) -> Floats:
    """Each modality of another patient of the same hospital, `[patients, features]`, drawn by seed.

    Who has a modality stays: only among those who have one is it dealt anew.

    Args:
        features: `[patients, features]`, NaN where a patient has none.
        sizes: of the modalities' features, side by side.
        hospitals: of the patients.
        seed: of the deal.
    """
    rng = np.random.default_rng(seed)
    dealt, start = features.copy(), 0
    for size in sizes:
        place = slice(start, start + size)
        present = ~np.isnan(features[:, place]).all(axis=1)
        for hospital in np.unique(hospitals):
            rows = np.flatnonzero(present & (hospitals == hospital))
            dealt[rows, place] = features[rng.permutation(rows), place]
        start += size
    return dealt


def hospital_probe(features: Floats, hospitals: NDArray[np.str_]) -> dict[str, float]:
    """How well a linear probe tells a patient's hospital, by balanced accuracy over five folds; empty where it cannot.

    Args:
        features: of patients who have a modality, `[patients, size]`.
        hospitals: of the patients.
    """
    names, counts = np.unique(hospitals, return_counts=True)
    rows = np.isin(hospitals, names[counts >= _FEWEST])
    values, label = features[rows], hospitals[rows]
    if len(np.unique(label)) < 2:
        return {}
    predicted = np.empty_like(label)
    for train, test in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(values, label):
        axes = Axes.of(values[train])  # of a fold's own training patients: those tested have no part in it
        probe = LogisticRegression(max_iter=500, class_weight="balanced")
        predicted[test] = probe.fit(axes.project(values[train]), label[train]).predict(axes.project(values[test]))
    accuracy = float(balanced_accuracy_score(label, predicted))
    return {"value": accuracy, "chance": 1 / int((counts >= _FEWEST).sum()), "n": int(rows.sum())}
