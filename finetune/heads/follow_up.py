"""What heads of an event in time share: an event column, a time column, and what is asked of both."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float

from finetune.baseline import cox
from finetune.experts.responses import Hazard, Response
from finetune.heads.base import PROBABILITY, Columns, Head, TargetCounts, object_schema
from finetune.metrics import Column
from foundation.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = ("low", "middle", "high")  # thirds of risk
FEWEST = 10  # events, of fewer of which a head learns little and nobody can be told


class FollowUp(Head):
    """A head of an event in time.

    Args:
        event: label column, 1 where the event was seen and 0 where the patient was censored.
        time: label column, days to event or censoring.
        horizons: days at which survival probabilities are given.

    Attributes:
        risk_name: of the number by which answers rank patients.

    Raises:
        UserError: if horizons do not rise from above 0.
    """

    kind = "survival"
    risk_name: ClassVar[str]

    def __init__(self, event: str, time: str, horizons: list[int] | None) -> None:
        super().__init__()
        self.event = event
        self.time = time
        self.targets = [event, time]
        self.horizons = horizons_of(horizons)

    def ranking_responses(self, targets: Columns) -> list[Response]:
        """The hazard."""
        return [Hazard(targets[self.event], targets[self.time])]

    @abstractmethod
    def risk(self, estimates: Column) -> Float[np.ndarray, " patients"]:
        """By what estimates rank patients: the higher, the sooner the event."""

    def answers(
        self, risk: Sequence[float], groups: Sequence[int], survival: Sequence[Sequence[float]]
    ) -> list[dict[str, Any]]:
        """What a request is answered, a row a patient.

        Args:
            risk: of each patient.
            groups: places in `GROUPS`.
            survival: probability at each horizon.
        """
        return [
            {
                self.risk_name: value,
                "risk_group": GROUPS[group],
                "survival": dict(zip(self.horizon_names, row, strict=True)),
            }
            for value, group, row in zip(risk, groups, survival, strict=True)
        ]

    def prediction_schema(self) -> dict[str, Any]:
        return object_schema(
            {
                self.risk_name: {"type": "number"},
                "risk_group": {"enum": list(GROUPS)},
                "survival": object_schema(dict.fromkeys(self.horizon_names, PROBABILITY)),
            }
        )

    def count(self, targets: Columns) -> TargetCounts:
        """Counts of events alone: days would be told patient by patient."""
        return TargetCounts.of({self.event: targets[self.event]})

    def check(self, counts: TargetCounts) -> None:
        if not counts.by_target[self.event].get(1):
            raise UserError(
                f"task.head: none of {counts.patients} training patients has {self.event} = 1; "
                "survival is learned from events seen, so train on hospitals that saw some (data.test_hospitals)"
            )

    def doubts(self, targets: Columns) -> list[str]:
        return beyond_follow_up(self.horizons, self.time, targets[self.time])

    def scarce(self, counts: TargetCounts) -> list[str]:
        return too_few({f"{self.event} = 1": counts.by_target[self.event].get(1, 0)})

    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        return {"events": counts.by_target[self.event].get(1, 0)}

    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        """Log hazard by Cox regression, slightly ridged."""
        return cox(train, targets[self.event], targets[self.time], test)

    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """Kaplan–Meier curves by third of predicted risk."""
        from lifelines import KaplanMeierFitter  # here, for serving draws nothing

        event, time, risk = targets[self.event], targets[self.time], self.risk(estimates)
        thirds = np.digitize(risk, np.quantile(risk, [1 / 3, 2 / 3]))
        for index, name in enumerate(GROUPS):
            third = thirds == index
            if third.any():
                curve = KaplanMeierFitter(label=f"{name} risk").fit(time[third] / 365.25, event[third])
                curve.plot_survival_function(ax=axes)
        axes.set(xlabel="years", ylabel="survival, by third of predicted risk", ylim=(0, 1.02))

    @property
    def horizon_names(self) -> list[str]:
        """As answers call them."""
        return [f"{days}_days" for days in self.horizons]


def horizons_of(days: Sequence[int] | None) -> list[int]:
    """Days at which chances are given: those asked for, or one, three and five years.

    Raises:
        UserError: if they do not rise from above 0.
    """
    horizons = list(days or [365, 1095, 1825])
    if any(low >= high for low, high in pairwise([0, *horizons])):
        raise UserError(f"task.head.horizons: found {horizons}; give days that rise from above 0, each once")
    return horizons


def beyond_follow_up(horizons: Sequence[int], column: str, time: Column) -> list[str]:
    """A line on horizons that no training patient reaches.

    Args:
        horizons: days.
        column: name of the times.
        time: of the training patients, NaN where unknown.
    """
    longest = float(np.nanmax(time, initial=0.0))
    beyond = [str(days) for days in horizons if days > longest]
    if not beyond:
        return []
    finding = f"no training patient is followed up to {' or '.join(beyond)} days"
    return [f"task.head.horizons: {finding}; name earlier ones, or check that {column} are days"]


def too_few(events: Mapping[str, int]) -> list[str]:
    """A line for each kind of event that few training patients had."""
    return [
        f"task.head: {count} training patient{'s' if count > 1 else ''} with {name}, of {FEWEST} or more that it takes "
        "to learn from; join it with another kind, or train on hospitals that saw more"
        for name, count in events.items()
        if 0 < count < FEWEST
    ]


def concordance(event: Column, time: Column, risk: Column) -> float:
    """Harrell's C: how often the patient of the higher risk has the event first."""
    from lifelines.utils import concordance_index  # here, for serving judges nothing

    return float(concordance_index(time, -risk, event))


def has_pairs(event: Column, time: Column) -> bool:
    """Whether there is a pair of patients of whom one had the event while the other was still followed."""
    return bool((event == 1).any() and (time > time[event == 1].min()).any())
