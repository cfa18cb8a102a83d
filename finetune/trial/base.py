"""What all tools of a trial share: patients and a seed in, a page out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from finetune.page import Page
from finetune.trial.patients import ScoredPatients
from foundation.statistics.figure import Figure, Support
from foundation.statistics.hospitals import hospital_draws
from foundation.statistics.table import Integers
from foundation.statistics.weights import poisson_weights

SUPPORT = Support()


class Tool(ABC):
    """One of the tools that `python -m finetune.trial` runs."""

    @abstractmethod
    def run(self, scored: ScoredPatients, seed: int) -> Page:
        """The page of these patients.

        Args:
            scored: patients with their scores.
            seed: of everything that is drawn.

        Raises:
            UserError: if a setting cannot be, or the patients cannot answer.
        """


def patient_replicates(patients: Sequence[str], replicates: int, seed: int) -> Integers:
    """How often each patient counts in each bootstrap replicate: `[1 + replicates, patients]`, row 0 all ones."""
    return poisson_weights(patients, replicates, f"trial {seed}")


def hospital_replicates(hospitals: Sequence[str], replicates: int, seed: int) -> Integers:
    """The same by drawing whole hospitals: `[1 + replicates, patients]`."""
    names = np.unique(hospitals)
    return hospital_draws(len(names), replicates, seed)[:, np.searchsorted(names, hospitals)]


def rows_of(weights: Integers) -> Integers:
    """Rows of the patients of one replicate, as often as each counts."""
    return np.repeat(np.arange(len(weights)), weights)


def plain_figure(value: float, n: int, outcomes: dict[str, int], estimator: str) -> Figure:
    """A number without interval, such as a count or a share of simulated trials."""
    return Figure(value, None, None, n, outcomes, estimator)
