"""Probes of frozen embeddings: a linear one and nearest neighbours."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Values = NDArray[np.float32]
Labels = NDArray[np.generic]

_PENALTY = 0.1  # inverse strength of the ridge, on standardised embeddings; fixed, so that nothing is chosen on a test
_NEIGHBOURS = 20


def linear(values: Values, labels: Labels) -> Pipeline:
    """A ridge-penalised logistic regression on standardised embeddings `[patients, width]`; any number of classes."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=2000, class_weight="balanced"))
    return probe.fit(values, labels)


def neighbours(values: Values, labels: Labels) -> KNeighborsClassifier:
    """Twenty nearest by cosine, or as many as there are, weighted by nearness."""
    classifier = KNeighborsClassifier(min(_NEIGHBOURS, len(values)), metric="cosine", weights="distance")
    return classifier.fit(values, labels)


def probe_auc(train: tuple[Values, Labels], test: tuple[Values, Labels]) -> dict[str, float]:
    """AUC of a binary label on test patients, by a linear probe and by nearest neighbours fitted on train patients.

    Patients whose label is NaN are left out; empty where a part lacks a class.
    """
    (values, labels), (seen, truth) = _known(*train), _known(*test)
    if len(np.unique(labels)) < 2 or len(np.unique(truth)) < 2:
        return {}
    readers = {"linear": linear(values, labels), "knn": neighbours(values, labels)}
    return {name: float(roc_auc_score(truth, reader.predict_proba(seen)[:, 1])) for name, reader in readers.items()}


def _known(values: Values, labels: Labels) -> tuple[Values, Labels]:
    known = ~np.isnan(labels.astype(float))
    return values[known], labels[known]
