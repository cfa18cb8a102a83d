"""Covariate adjustment by a prognostic score: what it saves a planned trial, or what it makes of one that was run."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from finetune.page import Page, words
from finetune.trial import pictures
from finetune.trial.base import SUPPORT, Tool, hospital_replicates, patient_replicates, plain_figure, rows_of
from finetune.trial.design import Design
from finetune.trial.endpoints import Endpoint, endpoint_of
from finetune.trial.log_rank import Effect
from finetune.trial.patients import ScoredPatients
from finetune.trial.settings import count, days, number
from finetune.trial.simulation import Power, signals, simulate
from foundation.data.sections import Section, section
from foundation.errors import UserError
from foundation.statistics.figure import HOSPITAL_BOOTSTRAP, PATIENT_BOOTSTRAP, Figure
from foundation.statistics.table import Floats, Integers

_COPIES = 20  # of each patient in the trial that tells what one patient adds, for the bootstrap
_LARGE = 40_000  # patients of that trial for the patients as they are
_SAVING = "share of patients that adjustment spares at equal power and planned effect"
_NOISE = "squared correlation of outcome and cross-fitted prognosis, no effect"


@dataclass(frozen=True)
class Plan:
    """A trial by formula and by simulation.

    Attributes:
        signals: without and with adjustment.
        sizes: patients that reach the power, likewise.
        simulated: power at each of the sizes.
        false_alarms: shares of trials without effect that told one, at the adjusted size.
    """

    signals: tuple[float, float]
    sizes: tuple[int, int]
    simulated: tuple[Power, Power]
    false_alarms: Power


class Adjustment(Tool):
    """Plans a trial whose analysis adjusts for the score; with an arm, analyses one.

    Args:
        endpoint: time_to_event, binary or continuous.
        outcome: column of a binary or continuous one.
        arm: column of 1 (treated) and 0; null plans a trial.
        effect: planned: hazard ratio, risk ratio, or difference in means.
        alpha, power, allocation: see `Design`.
        follow_up: days after which nobody is followed; null: as long as the cohort was.
        simulations: trials of each kind.
        resamples: of each bootstrap.
    """

    def __init__(
        self,
        endpoint: str = "time_to_event",
        outcome: str | None = None,
        arm: str | None = None,
        effect: float = 0.7,
        alpha: float = 0.05,
        power: float = 0.8,
        allocation: float = 0.5,
        follow_up: float | None = None,
        simulations: int = 1000,
        resamples: int = 500,
    ) -> None:
        self.endpoint, self.outcome, self.arm = endpoint, outcome, arm
        self.effect = number("tool.effect", effect, "a hazard ratio, risk ratio or difference", math.isfinite)
        self.design = Design(alpha, power, allocation)
        self.follow_up = None if follow_up is None else days("tool.follow_up", follow_up)
        self.simulations = count("tool.simulations", simulations, 1)
        self.resamples = count("tool.resamples", resamples, 2)

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        endpoint = endpoint_of(self.endpoint, scored, self.outcome, self.follow_up)
        scored.check_outcome(self.outcome)
        if self.effect == endpoint.no_effect:
            raise UserError(f"tool.effect: {self.effect:g} is no effect; plan a {endpoint.effect} that is one")
        page = self._plan(endpoint, seed) if self.arm is None else self._analyse(endpoint, self.arm)
        page.lead += scored.doubt(self.outcome)
        return page

    def plan(self, endpoint: Endpoint, seed: int) -> Plan:
        """The planned trial."""
        n = len(endpoint.scored.table)
        trial = endpoint.trials(self.effect)
        by_analysis = signals(trial, np.arange(n), self.design, max(_COPIES, _LARGE // n))
        plain, adjusted = (self.design.patients(signal) for signal in by_analysis)
        drawn = [simulate(trial, n, size, self.design, self.simulations, seed) for size in (plain, adjusted)]
        null = simulate(endpoint.trials(endpoint.no_effect), n, adjusted, self.design, self.simulations, seed + 1)
        return Plan(by_analysis, (plain, adjusted), (drawn[0], drawn[1]), null)

    def savings(self, endpoint: Endpoint, seed: int) -> dict[str, Figure]:
        """What the score explains and spares, with intervals over patients and over hospitals."""
        scored = endpoint.scored
        n, hospitals = len(scored.table), len(set(scored.hospitals))
        by_patient = patient_replicates(scored.patients, self.resamples, seed)
        figures = {
            "explained": SUPPORT.figure(endpoint.explained(by_patient), n, endpoint.outcomes, _NOISE),
            "saving": SUPPORT.figure(self._saved(endpoint, by_patient), n, endpoint.outcomes, _SAVING),
        }
        if hospitals >= SUPPORT.hospitals:
            values = self._saved(endpoint, hospital_replicates(scored.hospitals, self.resamples, seed))
            figures["saving/new_hospital"] = SUPPORT.figure(values, n, endpoint.outcomes, _SAVING, HOSPITAL_BOOTSTRAP)
        return figures

    def _saved(self, endpoint: Endpoint, weights: Integers) -> Floats:
        trial = endpoint.trials(self.effect)
        values = np.full(len(weights), np.nan)
        for place, row in enumerate(weights):
            rows = rows_of(row)
            if endpoint.residual[rows].std() > 0:  # else nobody had the event, or everybody is alike
                copies = max(_COPIES, _LARGE // len(rows)) if place == 0 else _COPIES
                plain, adjusted = signals(trial, rows, self.design, copies)
                values[place] = 1 - (plain / adjusted) ** 2
        return values

    def _plan(self, endpoint: Endpoint, seed: int) -> Page:
        plan, figures = self.plan(endpoint, seed), self.savings(endpoint, seed)
        n = len(endpoint.scored.table)
        for place, name in enumerate(("plain", "adjusted")):
            figures[f"patients/{name}"] = plain_figure(
                plan.sizes[place], n, endpoint.outcomes, f"patients for a power of {self.design.power:g}, by formula"
            )
            simulated = (plan.simulated[1].plain, plan.simulated[1].adjusted)[place]
            text = f"power of {plan.sizes[1]} patients, {plan.simulated[1].trials} trials drawn from the cohort"
            figures[f"power/simulated/{name}"] = plain_figure(simulated, n, endpoint.outcomes, text)
            formula = self.design.power_of(plan.sizes[1], plan.signals[place])
            text = f"power of {plan.sizes[1]} patients, by formula"
            figures[f"power/formula/{name}"] = plain_figure(formula, n, endpoint.outcomes, text)
            alarm = (plan.false_alarms.plain, plan.false_alarms.adjusted)[place]
            text = f"share of {plan.false_alarms.trials} trials without effect that told one"
            figures[f"false_alarms/{name}"] = plain_figure(alarm, n, endpoint.outcomes, text)
        lead = [
            f"A trial of {plan.sizes[0]} patients needs {plan.sizes[1]} when its analysis adjusts for the score: "
            f"{words(figures['saving'], 2)} of them are spared (95 % interval, bootstrap of patients).",
            f"Planned: {endpoint.effect} {self.effect:g}, two-sided level {self.design.alpha:g}, power "
            f"{self.design.power:g}, {self.design.allocation:.0%} treated"
            + (f", {self.follow_up:g} days of follow-up." if self.follow_up is not None else "."),
            "The score must be fixed before the first patient is treated, by a model that saw none of the trial.",
        ]
        sections = [_savings_section(figures), self._power_section(plan), _prognosis_section(endpoint)]
        title = f"Covariate adjustment of a planned trial: {endpoint.name.replace('_', ' ')}"
        return Page(title, lead, sections, _named(endpoint, figures), endpoint.scored.first)

    def _power_section(self, plan: Plan) -> Section:
        rows = {}
        for size, drawn in zip(plan.sizes, plan.simulated, strict=True):
            formula = [self.design.power_of(size, signal) for signal in plan.signals]
            rows[f"{size} patients, unadjusted"] = [f"{formula[0]:.3f}", f"{drawn.plain:.3f}"]
            rows[f"{size} patients, adjusted"] = [f"{formula[1]:.3f}", f"{drawn.adjusted:.3f}"]
        null = plan.false_alarms
        rows["no effect, unadjusted"] = [f"{self.design.alpha:.3f}", f"{null.plain:.3f}"]
        rows["no effect, adjusted"] = [f"{self.design.alpha:.3f}", f"{null.adjusted:.3f}"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["by formula", "by simulation"])
        note = (
            f"Each share of {null.trials} trials drawn from the cohort has a standard error of up to "
            f"{plan.simulated[0].error():.3f}."
        )
        return section("Power, by formula and by simulation", [table], pictures.powers(self.design, plan), note=note)

    def _analyse(self, endpoint: Endpoint, column: str) -> Page:
        scored = endpoint.scored.known(column)
        rows = endpoint.scored.table.index.isin(scored.table.index)
        if not rows.all():
            raise UserError(
                f"tool.arm: {int((~rows).sum())} patients have no '{column}'; a trial's patients all have an arm"
            )
        arm = scored.column(column, "tool.arm").to_numpy(np.float64)
        if set(np.unique(arm)) != {0.0, 1.0}:
            raise UserError(f"tool.arm: '{column}' must hold 1 (treated) and 0, both")
        effects = dict(zip(("plain", "adjusted"), endpoint.analyses(arm), strict=True))
        figures = {f"effect/{name}": _effect(one, arm, endpoint) for name, one in effects.items()}
        for name, one in effects.items():
            figures[f"p/{name}"] = plain_figure(one.p, one.n, endpoint.outcomes, f"two-sided p, {one.estimator}")
        spared = 1 - (effects["adjusted"].error / effects["plain"].error) ** 2
        figures["variance_spared"] = plain_figure(spared, len(arm), endpoint.outcomes, "1 - ratio of squared errors")
        table = pd.DataFrame(
            {
                name: [words(figures[f"effect/{name}"]), f"{one.error:.3f}", f"{one.p:.2g}", one.estimator]
                for name, one in effects.items()
            },
            index=["effect (95 % interval)", "standard error", "p", "estimator"],
        ).T
        in_words = {name: f"{words(figures[f'effect/{name}'])}, p = {one.p:.2g}" for name, one in effects.items()}
        lead = [
            f"Adjusted for the score, the effect is {in_words['adjusted']}; unadjusted {in_words['plain']}.",
            f"{int(arm.sum())} treated, {int(len(arm) - arm.sum())} not. Both estimate one effect, upon all patients.",
        ]
        title = f"Covariate adjustment of a trial: {endpoint.name.replace('_', ' ')}"
        sections = [section("Effect of treatment", [table]), _prognosis_section(endpoint)]
        return Page(title, lead, sections, _named(endpoint, figures), endpoint.scored.first)


def _effect(effect: Effect, arm: Floats, endpoint: Endpoint) -> Figure:
    low, high = effect.interval()
    outcomes = {"treated": int(arm.sum()), **endpoint.outcomes}
    return Figure(effect.value, low, high, effect.n, outcomes, effect.estimator, "95 %, normal")


def _savings_section(figures: dict[str, Figure]) -> Section:
    names = {
        "saving": ("patients spared at the planned effect", PATIENT_BOOTSTRAP),
        "saving/new_hospital": ("the same, as hospitals vary", HOSPITAL_BOOTSTRAP),
        "explained": ("share of noise explained, no effect", PATIENT_BOOTSTRAP),
    }
    rows = {text: [words(figures[name]), interval] for name, (text, interval) in names.items() if name in figures}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["share", "interval"])
    return section("What adjustment spares", [table])


def _prognosis_section(endpoint: Endpoint) -> Section:
    note = (
        "The prognosis of each patient is told by a spline of the score that other patients' outcomes were fitted to; "
        "of the time to an event, the outcome is the martingale residual."
    )
    return section("Score and outcome", [], pictures.prognosis(endpoint), note=note)


def _named(endpoint: Endpoint, figures: dict[str, Figure]) -> dict[str, Figure]:
    return {f"adjustment/{endpoint.name}/{name}": figure for name, figure in figures.items()}
