"""Trials drawn from the patients of a cohort, with an effect laid upon the treated: power by counting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from finetune.trial.design import Design
from finetune.trial.linear import ancova, risk_difference
from finetune.trial.log_rank import Effect, adjusted_log_rank, log_rank
from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers

_GOLDEN = 0.6180339887498949


class Uniform(Protocol):
    """What gives numbers between 0 and 1."""

    def random(self, size: int, /) -> Floats: ...


Trial = Callable[[Uniform, Integers, Floats], tuple[Effect, Effect]]


class EvenNumbers:
    """Numbers spread evenly instead of by chance: multiples of the golden section (Weyl 1916)."""

    def random(self, size: int, /) -> Floats:
        return np.asarray(np.arange(1, size + 1) * _GOLDEN % 1.0)


@dataclass(frozen=True)
class Power:
    """Shares of simulated trials that told an effect, without and with adjustment.

    Attributes:
        plain, adjusted: of trials in which the test was defined.
        trials: so many.
    """

    plain: float
    adjusted: float
    trials: int

    def error(self) -> float:
        """The largest standard error of a share of so many trials."""
        return float(np.sqrt(0.25 / self.trials))


def simulate(trial: Trial, cohort: int, patients: int, design: Design, trials: int, seed: int) -> Power:
    """Draws trials and counts how many tell an effect.

    Args:
        trial: of a generator, the patients drawn and their arms: the effect without and with adjustment.
        cohort: patients to draw from, with replacement.
        patients: of each trial.
        design: whose level tests are held against, and in whose proportion arms are dealt.
        trials: how many.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    significant = []
    for _ in range(trials):
        drawn = rng.integers(cohort, size=patients)
        arm = (rng.permutation(patients) < round(design.allocation * patients)).astype(np.float64)
        significant.append([abs(effect.z) > design.critical for effect in trial(rng, drawn, arm)])
    plain, adjusted = np.mean(significant, axis=0)
    return Power(float(plain), float(adjusted), trials)


def signals(trial: Trial, patients: Integers, design: Design, copies: int) -> tuple[float, float]:
    """What one patient adds to the test statistic, without and with adjustment; see `Design`.

    Of one large trial in which each patient stands in both arms, and all that is drawn is spread evenly, so that it
    holds no chance. Other
    than Schoenfeld's formula with a share of the variance taken off, it knows that an effective treatment leaves fewer
    events for the prognosis to explain.

    Args:
        trial: as of `simulate`.
        patients: rows of the cohort; who is drawn twice stands there twice.
        design: whose allocation arms are given copies by.
        copies: of each patient, in both arms together.
    """
    treated = max(1, round(copies * design.allocation))
    others = max(1, copies - treated)
    drawn = np.tile(patients, treated + others)
    arm = np.repeat([1.0, 0.0], [treated * len(patients), others * len(patients)])
    plain, adjusted = trial(EvenNumbers(), drawn, arm)
    return abs(plain.z) / float(np.sqrt(len(drawn))), abs(adjusted.z) / float(np.sqrt(len(drawn)))


class SurvivalTrials:
    """Trials with a hazard ratio upon the hazard of all patients, which keeps the test's hazards proportional.

    The treated live on to where the cohort's cumulative hazard is that of their own time over the hazard ratio. Who was
    censored stays so at the same time; who had the event is censored, if by then, as the cohort's curve of censoring
    from there on has it.

    Args:
        event: 1 seen, 0 censored, `[patients]`.
        time: `[patients]`.
        prognosis: `[patients]`.
        ratio: of hazards, treated over others, up to 1.
    """

    def __init__(self, event: Floats, time: Floats, prognosis: Floats, ratio: float) -> None:
        if not 0 < ratio <= 1:
            raise UserError(f"tool.effect: found {ratio}; give one above 0 and up to 1, of treated over others")
        self.event, self.time, self.prognosis, self.ratio = event, time, prognosis, ratio
        times = Grid.of_events(event, time)
        table = SurvivalTable.from_patients(event, time, np.zeros(len(event)), times, Grid(np.zeros(1)))
        self.days = times.values  # begins with 0
        self.hazard = table.nelson_aalen().value[0]
        exact = Grid.exact(time)
        everybody = SurvivalTable.from_patients(event, time, np.zeros(len(event)), exact, Grid(np.zeros(1)))
        self.ends, self.left = exact.values, everybody.censoring()[0]

    def events(self, ratio: float) -> float:
        """Chance of an event that is seen, where the hazard is so many times the cohort's."""
        survival = np.exp(-np.interp(self.ends, self.days, self.hazard) * ratio)
        before = np.concatenate([[1.0], self.left[:-1]])
        return float((before * -np.diff(survival, prepend=1.0)).sum())

    def __call__(self, rng: Uniform, drawn: Integers, arm: Floats) -> tuple[Effect, Effect]:
        event, time = self.event[drawn], self.time[drawn]
        moved = np.flatnonzero((arm == 1) & (event == 1)) if self.ratio < 1 else np.array([], dtype=np.int64)
        later, seen = self._later(rng, time[moved])
        time[moved], event[moved] = later, seen
        plain = log_rank(event, time, arm)
        return plain, adjusted_log_rank(event, time, arm, self.prognosis[drawn][:, None])

    def _later(self, rng: Uniform, time: Floats) -> tuple[Floats, Floats]:
        """When the treated have the event, or are censored before: times and events."""
        hazard = np.interp(time, self.days, self.hazard) / self.ratio
        last = self.hazard[-1]
        then = np.where(hazard < last, np.interp(hazard, self.hazard, self.days), np.inf)
        # Censoring past the event, drawn from the curve of those still followed at it.
        place = np.searchsorted(self.ends, time, side="left")
        before = np.concatenate([[1.0], self.left])[place]
        chance = rng.random(len(time)) * before
        at = np.searchsorted(-self.left, -chance, side="left")
        censored = self.ends[np.minimum(at, len(self.ends) - 1)]
        seen = then <= censored
        return np.where(seen, then, censored), seen.astype(np.float64)


class RiskTrials:
    """Trials whose treated have an outcome less often: each of them is spared it with the same chance.

    Args:
        label: 0 or 1, `[patients]`.
        prognosis: chance of it, `[patients]`.
        ratio: of risks, treated over others, up to 1.
    """

    def __init__(self, label: Floats, prognosis: Floats, ratio: float) -> None:
        if not 0 < ratio <= 1:
            raise UserError(f"tool.effect: found {ratio}; give one above 0 and up to 1, of treated over others")
        self.label, self.ratio = label, ratio
        self.covariate = np.log(np.clip(prognosis, 1e-6, 1 - 1e-6) / np.clip(1 - prognosis, 1e-6, 1 - 1e-6))

    def __call__(self, rng: Uniform, drawn: Integers, arm: Floats) -> tuple[Effect, Effect]:
        spared = (arm == 1) & (rng.random(len(drawn)) > self.ratio)
        label = np.where(spared, 0.0, self.label[drawn])
        x = self.covariate[drawn][:, None]
        return risk_difference(label, arm, x[:, :0]), risk_difference(label, arm, x)


class MeanTrials:
    """Trials whose treated have an outcome that is higher or lower by the same.

    Args:
        outcome, prognosis: `[patients]`.
        difference: treated less others.
    """

    def __init__(self, outcome: Floats, prognosis: Floats, difference: float) -> None:
        self.outcome, self.prognosis, self.difference = outcome, prognosis, difference

    def __call__(self, rng: Uniform, drawn: Integers, arm: Floats) -> tuple[Effect, Effect]:
        outcome, x = self.outcome[drawn] + self.difference * arm, self.prognosis[drawn][:, None]
        return ancova(outcome, arm, x[:, :0]), ancova(outcome, arm, x)
