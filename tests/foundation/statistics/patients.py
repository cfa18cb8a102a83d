"""Patients of several hospitals, drawn at random: labels, probabilities, follow-up, covariates."""

from dataclasses import dataclass

import numpy as np

from foundation.statistics.grid import Grid

SCORES = Grid.steps(0, 1, 0.01)
DAYS = Grid(np.arange(1.0, 61.0), "up")
RISKS = Grid.steps(-3, 3, 0.1)


@dataclass
class Patients:
    """Columns `[patients]`; covariates `[patients, 3]`.

    Hospital 0 has positives alone, hospital 1 no events, hospital 2 nobody; the others have all.
    """

    ids: list[str]
    hospital: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    other: np.ndarray
    event: np.ndarray
    time: np.ndarray
    risk: np.ndarray
    covariates: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Patients":
        return Patients(
            [name for name, inside in zip(self.ids, chosen, strict=True) if inside],
            *(column[chosen] for column in list(vars(self).values())[1:]),
        )

    def sites(self) -> list["Patients"]:
        return [self.rows(self.hospital == place) for place in range(5)]


def drawn(count: int = 200, seed: int = 0, ties: bool = True) -> Patients:
    rng = np.random.default_rng(seed)
    hospital = rng.choice([0, 1, 3, 4], count, p=[0.1, 0.1, 0.3, 0.5])
    label = (rng.random(count) < 0.4).astype(float)
    label[hospital == 0] = 1
    covariates = rng.normal(size=(count, 3))
    risk = np.clip(covariates @ [0.8, -0.4, 0.2], -2.9, 2.9)
    time, censored = rng.exponential(20 * np.exp(-risk)), rng.exponential(25, count)
    event = (time <= censored).astype(float)
    time = np.minimum(time, censored)
    time = np.clip(np.ceil(time), 1, 60) if ties else time
    event[hospital == 1] = 0
    probability = 1 / (1 + np.exp(-rng.normal(1.5 * label - 0.8)))
    other = 1 / (1 + np.exp(-rng.normal(0.8 * label - 0.5)))
    if ties:
        probability, other, risk = np.round(probability, 2), np.round(other, 2), np.round(risk, 1)
    ids = [f"patient {number}" for number in range(count)]
    return Patients(ids, hospital, label, probability, other, event, time, risk, covariates)
