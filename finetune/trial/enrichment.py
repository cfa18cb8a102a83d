"""Prognostic enrichment: a trial of those alone whose score reaches a threshold: fewer patients, of more screened."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Picture
from numpy.typing import NDArray

from finetune.page import Page, words
from finetune.trial import pictures
from finetune.trial.base import SUPPORT, Tool, patient_replicates
from finetune.trial.design import Design
from finetune.trial.endpoints import Binary, Endpoint, TimeToEvent, endpoint_of
from finetune.trial.patients import ScoredPatients
from finetune.trial.settings import count, days, listed, number
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.statistics.figure import Figure
from foundation.statistics.grid import Grid
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers

_DAYS_A_MONTH = 365.25 / 12
_MEASURES = {
    "prevalence": "share of screened patients whose score reaches the threshold",
    "events": "chance of an event among them, untreated, by the end of follow-up",
    "randomised": "patients to randomise for the power",
    "screened": "patients to screen for them",
    "months": "months until the last patient's follow-up ends",
    "power": "power of as many patients as the trial of everybody randomises",
}


@dataclass(frozen=True)
class Screen:
    """Trials by threshold.

    Attributes:
        values: by measure, `[replicates, thresholds]`; NaN where not defined.
    """

    values: dict[str, Floats]


class Enrichment(Tool):
    """Sizes, durations and powers by threshold of the score.

    Args:
        endpoint: time_to_event or binary.
        outcome: column of a binary one.
        effect: planned: hazard ratio or risk ratio, below 1.
        alpha, power, allocation: see `Design`.
        follow_up: days that each patient is followed; of the time to an event, it must be given.
        screened_a_month: patients.
        shares: of patients below the threshold, each a trial; 0 is that of everybody.
        resamples: of the bootstrap of patients.
    """

    def __init__(
        self,
        endpoint: str = "time_to_event",
        outcome: str | None = None,
        effect: float = 0.7,
        alpha: float = 0.05,
        power: float = 0.8,
        allocation: float = 0.5,
        follow_up: float | None = 1095,
        screened_a_month: float = 20,
        shares: list[float] | None = None,
        resamples: int = 500,
    ) -> None:
        self.endpoint, self.outcome, self.design = endpoint, outcome, Design(alpha, power, allocation)
        wanted = "a ratio between 0 and 1, of treated over others"
        self.effect = number("tool.effect", effect, wanted, lambda ratio: 0 < ratio < 1)
        self.follow_up = None if follow_up is None else days("tool.follow_up", follow_up)
        self.resamples = count("tool.resamples", resamples, 2)
        self.rate = number("tool.screened_a_month", screened_a_month, "a number above 0", lambda rate: rate > 0)
        wanted = "shares of patients from 0 to below 1"
        chosen = listed("tool.shares", shares, (0.1, 0.25, 0.5, 0.66, 0.75))
        self.shares = sorted(
            {0.0, *(number("tool.shares", one, wanted, lambda share: 0 <= share < 1) for one in chosen)}
        )

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        if self.endpoint == TimeToEvent.name and self.follow_up is None:
            raise UserError("tool.follow_up: give the days that each patient of the trial is followed")
        endpoint = endpoint_of(self.endpoint, scored, self.outcome, None)
        if not isinstance(endpoint, TimeToEvent | Binary):
            raise UserError(f"tool.endpoint: '{self.endpoint}' has no events to enrich; choose time_to_event or binary")
        scored.check_outcome(self.outcome)
        cuts = [-math.inf, *(float(np.quantile(endpoint.scored.score, share)) for share in self.shares[1:])]
        weights = patient_replicates(endpoint.scored.patients, self.resamples, seed)
        screen = self.screen(endpoint, cuts, weights)
        figures = {}
        for place, share in enumerate(self.shares):
            inside = endpoint.scored.score >= cuts[place]
            seen = endpoint.residual if isinstance(endpoint, Binary) else endpoint.event
            outcomes = {"events": int(seen[inside].sum())}
            for name, text in _MEASURES.items():
                key = f"enrichment/{endpoint.name}/{share:g}/{name}"
                values = screen.values[name][:, place]
                figures[key] = SUPPORT.figure(values, int(inside.sum()), outcomes, text)
        defined = [share for share in self.shares if self._value(figures, endpoint, share, "randomised") is not None]
        page = Page(f"Enrichment by score: {endpoint.name.replace('_', ' ')}", self._lead(figures, endpoint, defined))
        page.sections.append(section("By threshold", [self._table(figures, endpoint, cuts)], self._picture(figures)))
        page.lead += scored.doubt(self.outcome)
        page.figures, page.first = figures, endpoint.scored.first
        return page

    def screen(self, endpoint: TimeToEvent | Binary, cuts: list[float], weights: Integers) -> Screen:
        """Trials of those from each threshold on, in every replicate."""
        parts: dict[str, list[Floats]] = {name: [] for name in _MEASURES}
        events = [self._events(endpoint, endpoint.scored.score >= cut, weights) for cut in cuts]
        everybody = self._signal(events[0])
        for cut, chance in zip(cuts, events, strict=True):
            share = weights[:, endpoint.scored.score >= cut].sum(axis=1) / weights.sum(axis=1)
            signal = self._signal(chance)
            with np.errstate(divide="ignore", invalid="ignore"):
                size, reference = (np.ceil(self.design.distance**2 / values**2) for values in (signal, everybody))
                screened = np.ceil(size / share)
            follow_up = (self.follow_up or 0.0) / _DAYS_A_MONTH
            power = [
                self.design.power_of(int(n), float(s)) if np.isfinite(n * s) else math.nan
                for n, s in zip(reference, signal, strict=True)
            ]
            measured = (share, chance, size, screened, screened / self.rate + follow_up, np.array(power))
            for name, values in zip(_MEASURES, measured, strict=True):
                parts[name].append(np.where(np.isfinite(values), values, np.nan))
        return Screen({name: np.stack(values, axis=1) for name, values in parts.items()})

    def _events(self, endpoint: TimeToEvent | Binary, inside: NDArray[np.bool_], weights: Integers) -> Floats:
        """Chance of an event without treatment, by replicate; by Kaplan–Meier where time counts."""
        if isinstance(endpoint, Binary):
            total = weights[:, inside].sum(axis=1)
            return np.where(total > 0, weights[:, inside] @ endpoint.residual[inside] / np.maximum(total, 1), np.nan)
        event, time = endpoint.event[inside], endpoint.time[inside]
        assert self.follow_up is not None
        if not len(time) or time.max() < self.follow_up:
            return np.full(len(weights), np.nan)  # nobody was followed so long
        times = Grid.of_events(event, time, [self.follow_up])
        one = Grid(np.zeros(1))
        table = SurvivalTable.from_patients(event, time, np.zeros(len(time)), times, one, weights[:, inside])
        return 1 - table.survival_at(self.follow_up)

    def _signal(self, chance: Floats) -> Floats:
        """What one patient adds to the test, by the chance of an event without treatment; 0 where there is none."""
        if self.endpoint == Binary.name:
            pairs = [(self.effect * value, value) for value in chance]
            return np.array([self.design.signal_of_risks(*pair) if 0 < pair[1] <= 1 else np.nan for pair in pairs])
        treated = 1 - (1 - chance) ** self.effect
        mean = self.design.allocation * treated + (1 - self.design.allocation) * chance
        return np.array([self.design.signal_of_hazards(self.effect, value) if value > 0 else np.nan for value in mean])

    def _value(self, figures: dict[str, Figure], endpoint: Endpoint, share: float, name: str) -> float | None:
        return figures[f"enrichment/{endpoint.name}/{share:g}/{name}"].value

    def _lead(self, figures: dict[str, Figure], endpoint: Endpoint, shares: list[float]) -> list[str]:
        planned = (
            f"Planned: {endpoint.effect} {self.effect:g}, two-sided level {self.design.alpha:g}, power "
            f"{self.design.power:g}, {self.rate:g} patients screened a month."
        )
        if not shares:
            return ["No threshold has patients enough followed long enough to plan a trial.", planned]
        fewest, shortest = (
            min(shares, key=lambda share: self._value(figures, endpoint, share, name) or math.inf)
            for name in ("randomised", "months")
        )
        return [
            "Without threshold "
            + self._words(figures, endpoint, 0.0)
            + f"; fewest randomised without the lowest {fewest:.0%} of scores: "
            + self._words(figures, endpoint, fewest)
            + f". Shortest: without the lowest {shortest:.0%}.",
            planned,
            "Thresholds are quantiles of these patients' scores; fix the one that is chosen before a trial begins.",
        ]

    def _words(self, figures: dict[str, Figure], endpoint: Endpoint, share: float) -> str:
        values = [self._value(figures, endpoint, share, name) for name in ("randomised", "screened", "months")]
        randomised, screened, months = ("unknown" if value is None else f"{value:.0f}" for value in values)
        return f"{randomised} randomised of {screened} screened, {months} months"

    def _table(self, figures: dict[str, Figure], endpoint: Endpoint, cuts: list[float]) -> pd.DataFrame:
        rows = {}
        for share, cut in zip(self.shares, cuts, strict=True):
            name = "everybody" if share == 0 else f"without the lowest {share:.0%} (score from {cut:.3f})"
            digits = (2, 2, 0, 0, 0, 2)
            shown = zip(_MEASURES, digits, strict=True)
            rows[name] = [
                words(figures[f"enrichment/{endpoint.name}/{share:g}/{key}"], places) for key, places in shown
            ]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(_MEASURES))

    def _picture(self, figures: dict[str, Figure]) -> Picture:
        return pictures.enrichment(figures, self.endpoint, self.shares)
