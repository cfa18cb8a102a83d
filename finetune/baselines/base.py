"""A baseline: a ridge of the task's own kind on one block of features."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.experts.blocks import Axes
from finetune.experts.responses import Floats
from finetune.heads.base import Columns, Head
from finetune.metrics import Column
from foundation.errors import UserError


class Source(Protocol):
    """Features of patients by id, `[patients, size]`, NaN where not measured."""

    def __call__(self, patients: list[str]) -> Floats: ...


@dataclass(frozen=True)
class Baseline:
    """What is known of a patient, and how it is read.

    Attributes:
        name: in tables.
        source: of the features.
        components: on how many principal components it is fitted without a search for more; None for a ridge on all
            main axes, its penalty chosen by leaving training hospitals out.
    """

    name: str
    source: Source
    components: int | None = None


def estimates(
    head: Head, baseline: Baseline, train: list[str], targets: Columns, hospitals: list[str], test: list[str]
) -> tuple[NDArray[np.bool_], Column] | None:
    """A baseline's estimates for the test patients who have what it reads.

    Args:
        head: of the task, whose kind of regression is fitted; its own weights are not read.
        baseline: to fit.
        train: patients.
        targets: of the training patients.
        hospitals: of the training patients.
        test: patients.

    Returns:
        Which test patients have it, `[test]`, and their estimates; None where too few have it to train or
        to test, or none of those who train had the event.
    """
    known, asked = baseline.source(train), baseline.source(test)
    there = _present(asked)
    if there.sum() < 2:
        return None
    if baseline.components is not None and _present(known).any():
        axes = Axes.of(known[_present(known)], baseline.components)
        known, asked = (np.where(_present(values)[:, None], axes.project(values), np.nan) for values in (known, asked))
    plain = type(head)(**head.settings() | {"blocks": [[baseline.name, known.shape[1]]]})
    try:
        plain.fit_experts(known, targets, hospitals, distil=False)
    except UserError:  # too few have it, or none of them had the event: no baseline, and no fault of the model
        return None
    scores = plain(torch.from_numpy(asked[there]).float()).detach()
    return there, plain.estimate(scores).numpy().astype(np.float64)


def _present(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values).all(axis=1))
