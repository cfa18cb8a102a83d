"""A figure as it is reported: value, interval, counts, estimator; or, below the declared support, why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.table import Floats

_LOW, _HIGH = 2.5, 97.5
PATIENT_BOOTSTRAP = "95 % percentile, patient bootstrap"
HOSPITAL_BOOTSTRAP = "95 % percentile, hospital bootstrap"


@dataclass(frozen=True)
class Figure:
    """One number and what it rests on.

    Attributes:
        value: None where it is not defined.
        low, high: of its interval; None where there is none.
        n: patients.
        outcomes: patients by outcome.
        estimator: what the number is.
        interval: what the interval is; None where there is none.
        replicates: of the bootstrap in which the figure is defined.
        reason: why value or interval is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    outcomes: Mapping[str, int]
    estimator: str
    interval: str | None = None
    replicates: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Support:
    """What a figure must rest on to be one.

    Args:
        patients: at least so many.
        outcome: of each outcome that the figure compares, at least so many.
        hospitals: at least so many for the interval of a new hospital.
        defined: at least this share of the replicates must define the figure for it to have an interval.
    """

    patients: int = 10
    outcome: int = 5
    hospitals: int = 3
    defined: float = 0.8

    def lack(self, n: int, outcomes: Mapping[str, int] | None = None) -> str | None:
        """What is missing, in words; None where nothing is."""
        if n < self.patients:
            return f"{n} patients, of {self.patients} that it takes"
        short = [f"{count} {name}" for name, count in (outcomes or {}).items() if count < self.outcome]
        return f"{', '.join(short)}, of {self.outcome} that it takes" if short else None

    def figure(
        self,
        values: ArrayLike,
        n: int,
        outcomes: Mapping[str, int],
        estimator: str,
        interval: str = PATIENT_BOOTSTRAP,
        needs: Sequence[str] | None = None,
    ) -> Figure:
        """A figure of its values by replicate, `[replicates]`, row 0 the patients as they are.

        Args:
            values: of the figure.
            n: patients.
            outcomes: patients by outcome.
            estimator: what the number is.
            interval: what the replicates are.
            needs: outcomes that must reach the support; all, if not given.
        """
        numbers = np.asarray(values, dtype=np.float64)
        facts: dict[str, Any] = {"n": n, "outcomes": dict(outcomes), "estimator": estimator}
        reason = self.lack(n, {name: outcomes[name] for name in (outcomes if needs is None else needs)})
        if reason is None and not np.isfinite(numbers[0]):
            reason = "not defined for these patients"
        if reason is not None:
            return Figure(None, None, None, reason=reason, **facts)
        value, drawn = float(numbers[0]), numbers[1:][np.isfinite(numbers[1:])]
        if len(numbers) == 1:
            return Figure(value, None, None, **facts)
        if len(drawn) < self.defined * (len(numbers) - 1):
            reason = f"defined in {len(drawn)} of {len(numbers) - 1} replicates, too few for an interval"
            return Figure(value, None, None, replicates=len(drawn), reason=reason, **facts)
        low, high = percentiles(drawn)
        return Figure(value, low, high, interval=interval, replicates=len(drawn), **facts)


def percentiles(values: Floats) -> tuple[float, float]:
    """The ends of the 95 % percentile interval (Efron & Tibshirani 1993, ch. 13)."""
    low, high = np.percentile(values, [_LOW, _HIGH])
    return float(low), float(high)
