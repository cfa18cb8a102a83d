"""Endpoints of a trial: what is measured on each patient, what a score says of it, and trials drawn of it."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from finetune.trial.linear import ancova, risk_difference
from finetune.trial.log_rank import Effect, adjusted_log_rank, log_rank
from finetune.trial.patients import ScoredPatients
from finetune.trial.prognosis import cross_fitted, explained, martingale_residuals, survival_explained
from finetune.trial.simulation import MeanTrials, RiskTrials, SurvivalTrials, Trial
from foundation.errors import UserError
from foundation.statistics.table import Floats, Integers


class Endpoint(ABC):
    """Patients whose outcome is known.

    Attributes:
        name: as the setting names it.
        effect: what an effect of this endpoint is.
        scored: the patients.
        outcomes: patients by outcome.
        residual: what the score is to foretell, `[patients]`.
        prognosis: what it foretells, told of each patient by others; `[patients]`.
    """

    name: ClassVar[str]
    effect: ClassVar[str]
    scored: ScoredPatients
    outcomes: dict[str, int]
    residual: Floats
    prognosis: Floats

    @abstractmethod
    def trials(self, effect: float) -> Trial:
        """Draws trials in which treatment has this effect."""

    @abstractmethod
    def explained(self, weights: Integers) -> Floats:
        """Share of the outcome's noise that the prognosis explains under no effect, by replicate: `[replicates]`."""

    @abstractmethod
    def analyses(self, arm: Floats) -> tuple[Effect, Effect]:
        """The effect in a trial that was run, without and with adjustment."""

    @property
    def no_effect(self) -> float:
        """The effect that is none."""
        return 1.0


class TimeToEvent(Endpoint):
    """Time to an event, followed up to some days."""

    name = "time_to_event"
    effect = "hazard ratio"

    def __init__(self, scored: ScoredPatients, outcome: str | None, follow_up: float | None) -> None:
        if outcome is not None:
            raise UserError("tool.outcome: the time to an event is the cohort's survival; leave outcome null")
        event, time = scored.survival()
        self.scored = scored.known(event, time)
        columns = self.scored.column(event, "survival"), self.scored.column(time, "survival")
        seen, days = (column.to_numpy(np.float64) for column in columns)
        end = np.inf if follow_up is None else follow_up
        self.event, self.time = np.where(days <= end, seen, 0.0), np.minimum(days, end)
        events = int(self.event.sum())
        if not events:
            raise UserError(f"tool.follow_up: none of {len(seen)} patients had the event by then; follow them longer")
        self.outcomes = {"events": events, "censored": len(seen) - events}
        self.residual = martingale_residuals(self.event, self.time)
        self.prognosis = cross_fitted(self.scored.score, self.residual, self.scored.patients)

    def trials(self, effect: float) -> SurvivalTrials:
        return SurvivalTrials(self.event, self.time, self.prognosis, effect)

    def explained(self, weights: Integers) -> Floats:
        return survival_explained(self.event, self.time, self.prognosis, weights)

    def analyses(self, arm: Floats) -> tuple[Effect, Effect]:
        covariates = self.prognosis[:, None]
        return log_rank(self.event, self.time, arm), adjusted_log_rank(self.event, self.time, arm, covariates)


class Binary(Endpoint):
    """A label, 1 or 0."""

    name = "binary"
    effect = "risk ratio"

    def __init__(self, scored: ScoredPatients, outcome: str | None, follow_up: float | None) -> None:
        self.scored, self.residual = _column(scored, outcome)
        if not set(np.unique(self.residual)) == {0.0, 1.0}:
            raise UserError(f"tool.outcome: '{outcome}' is not 0 and 1 among these patients; choose another endpoint")
        positive = int(self.residual.sum())
        self.outcomes = {"positive": positive, "negative": len(self.residual) - positive}
        self.prognosis = cross_fitted(self.scored.score, self.residual, self.scored.patients, yes_or_no=True)

    def trials(self, effect: float) -> RiskTrials:
        return RiskTrials(self.residual, self.prognosis, effect)

    def explained(self, weights: Integers) -> Floats:
        return explained(self.residual, self.prognosis, weights)

    def analyses(self, arm: Floats) -> tuple[Effect, Effect]:
        covariates = RiskTrials(self.residual, self.prognosis, 1.0).covariate[:, None]
        return risk_difference(self.residual, arm, covariates[:, :0]), risk_difference(self.residual, arm, covariates)


class Continuous(Endpoint):
    """A quantity."""

    name = "continuous"
    effect = "difference in means"

    def __init__(self, scored: ScoredPatients, outcome: str | None, follow_up: float | None) -> None:
        self.scored, self.residual = _column(scored, outcome)
        self.outcomes = {}
        self.prognosis = cross_fitted(self.scored.score, self.residual, self.scored.patients)

    def trials(self, effect: float) -> MeanTrials:
        return MeanTrials(self.residual, self.prognosis, effect)

    def explained(self, weights: Integers) -> Floats:
        return explained(self.residual, self.prognosis, weights)

    def analyses(self, arm: Floats) -> tuple[Effect, Effect]:
        covariates = self.prognosis[:, None]
        return ancova(self.residual, arm, covariates[:, :0]), ancova(self.residual, arm, covariates)

    @property
    def no_effect(self) -> float:
        return 0.0


ENDPOINTS: dict[str, type[TimeToEvent] | type[Binary] | type[Continuous]] = {
    kind.name: kind for kind in (TimeToEvent, Binary, Continuous)
}


def endpoint_of(name: str, scored: ScoredPatients, outcome: str | None, follow_up: float | None) -> Endpoint:
    """The endpoint that settings name.

    Raises:
        UserError: if there is none of that name, or its outcome is not known.
    """
    if name not in ENDPOINTS:
        raise UserError(f"tool.endpoint: found '{name}'; choose from {', '.join(ENDPOINTS)}")
    return ENDPOINTS[name](scored, outcome, follow_up)


def _column(scored: ScoredPatients, outcome: str | None) -> tuple[ScoredPatients, Floats]:
    if outcome is None:
        raise UserError("tool.outcome: name the column that is the outcome: a label, or a column of the record")
    scored.column(outcome, "tool.outcome")
    known = scored.known(outcome)
    return known, known.column(outcome, "tool.outcome").to_numpy(np.float64)
