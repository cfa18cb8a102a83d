"""An external control arm: patients from elsewhere, weighted to be like the treated, and the hazard ratio to them."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from finetune.page import Page, words
from finetune.trial import pictures
from finetune.trial.base import Tool, plain_figure
from finetune.trial.patients import HOSPITAL, SCORE, ScoredPatients
from finetune.trial.propensity import (
    design_of,
    propensity,
    standardised_differences,
    weighted_difference,
    weights_of,
)
from finetune.trial.settings import days, names
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.statistics.comparison import two_sided
from foundation.statistics.figure import Figure
from foundation.statistics.grid import Grid
from foundation.statistics.suppression import cells_in_words, hidden_cells, hidden_note, is_small
from foundation.statistics.table import Floats, total
from foundation.statistics.weighted_cox import WeightedRiskTable

_QUANTILE = 1.959963984540054
_BALANCED = 0.1  # largest standardised difference that is called balance (Austin 2009)
_LEAST = 5  # patients of an arm at a hospital who are told as a number


@dataclass(frozen=True)
class Arms:
    """Patients of both arms.

    Attributes:
        scored: them.
        arm: 1 treated, 0 external control, `[patients]`.
        design: covariates, `[patients, columns]`.
        chance: of treatment, `[patients]`.
        weights: `[patients]`.
    """

    scored: ScoredPatients
    arm: Floats
    design: pd.DataFrame
    chance: Floats
    weights: Floats


class ExternalControl(Tool):
    """Compares the treated with patients from elsewhere.

    Args:
        arm: column of 1 (treated) and 0 (control).
        treated_hospitals: instead of it, hospitals whose patients are all treated; all others are controls.
        covariates: known before treatment, that the arms may differ in: columns, and `score`.
        estimand: `treated`, `all` or `overlap`; see `weights_of`.
        negative_control: column of a label or quantity that treatment cannot change; null leaves the check out.
        follow_up: days after which nobody is followed; null: as long as the cohort was.
    """

    def __init__(
        self,
        arm: str | None = None,
        treated_hospitals: list[str] | None = None,
        covariates: list[str] | None = None,
        estimand: str = "treated",
        negative_control: str | None = None,
        follow_up: float | None = None,
    ) -> None:
        if (arm is None) == (not treated_hospitals):
            raise UserError("tool.arm: name a column of 1 and 0, or tool.treated_hospitals, and not both")
        self.arm, self.treated_hospitals = arm, names("tool.treated_hospitals", treated_hospitals or None, [])
        self.covariates = names("tool.covariates", covariates, [SCORE])
        self.estimand, self.negative_control = estimand, negative_control
        self.follow_up = None if follow_up is None else days("tool.follow_up", follow_up)

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        event, time = scored.survival()
        arms = self.arms(scored.known(event, time, *([self.arm] if self.arm else [])))
        figures = {**self._ratios(arms), **_sizes(arms), **self._control(arms)}
        before, after = (_differences(arms, weights) for weights in (np.ones(len(arms.arm)), arms.weights))
        largest = max(after, key=lambda name: abs(after[name]))
        n = {"treated": int(arms.arm.sum()), "controls": int((1 - arms.arm).sum())}
        for name, values in (("before", before), ("after", after)):
            figures[f"largest_difference/{name}"] = plain_figure(
                max(map(abs, values.values())),
                len(arms.arm),
                n,
                "largest absolute standardised difference (Austin 2009)",
            )
        lead = [
            f"Weighted hazard ratio of {n['treated']} treated against {n['controls']} external controls: "
            f"{words(figures['hazard_ratio/weighted'], 2)}; unweighted {words(figures['hazard_ratio/unweighted'], 2)}.",
            f"Effective controls: {figures['effective/controls'].value:.0f}. Largest difference after weighting: "
            f"{abs(after[largest]):.2f} standard deviations ({largest}), "
            + ("balanced." if abs(after[largest]) <= _BALANCED else f"not balanced: above {_BALANCED:g}."),
            "Weights mend what was measured alone; what was not can make or hide an effect.",
        ]
        sections = [
            section("Hazard ratio", [_table(figures)]),
            section("Balance", [], pictures.balance(before, after, _BALANCED)),
            section("Overlap", [], pictures.overlap(arms.chance, arms.arm)),
            section("By hospital", [_by_hospital(arms)], note=hidden_note(_LEAST)),
        ]
        named = {f"external_control/{name}": figure for name, figure in figures.items()}
        return Page("External control arm", lead, sections, named, scored.first)

    def arms(self, scored: ScoredPatients) -> Arms:
        """Both arms with their weights.

        Raises:
            UserError: if one is empty, or a covariate or negative control is the outcome, the arm or not there.
        """
        if self.arm is not None:
            arm = scored.column(self.arm, "tool.arm").to_numpy(np.float64)
        else:
            missing = [name for name in self.treated_hospitals if name not in scored.hospitals]
            if missing:
                there = ", ".join(dict.fromkeys(scored.hospitals))
                raise UserError(f"tool.treated_hospitals: no patient of '{missing[0]}'; there are {there}")
            arm = np.isin(scored.hospitals, self.treated_hospitals).astype(np.float64)
        if set(np.unique(arm)) != {0.0, 1.0}:
            raise UserError("tool.arm: needs both, treated (1) and controls (0), and nothing else")
        if min(arm.sum(), (1 - arm).sum()) < _LEAST:
            raise UserError(f"tool.arm: an arm has fewer than {_LEAST} patients, who are not told; choose another")
        outcome, assigned = set(scored.survival()), HOSPITAL if self.arm is None else self.arm
        for name in self.covariates:
            if name not in scored.table:
                raise UserError(f"tool.covariates: no column '{name}'; there are {', '.join(scored.table)}")
            if name in outcome | {self.negative_control}:
                raise UserError(f"tool.covariates: '{name}' is an outcome; name what was known before treatment")
            if name == assigned:
                raise UserError(f"tool.covariates: '{name}' says who was treated; name what was known before treatment")
        if self.negative_control in outcome | {assigned}:
            raise UserError(
                f"tool.negative_control: '{self.negative_control}' is what treatment changes or is; name another column"
            )
        design = design_of(scored.table, self.covariates)
        chance = propensity(design.to_numpy(np.float64), arm)
        return Arms(scored, arm, design, chance, weights_of(chance, arm, self.estimand))

    def tables(self, arms: Arms, weights: Floats) -> list[WeightedRiskTable]:
        """What each hospital would send, in one message."""
        event, time = (arms.scored.column(name, "survival").to_numpy(np.float64) for name in arms.scored.survival())
        end = math.inf if self.follow_up is None else self.follow_up
        seen, days = np.where(time <= end, event, 0.0), np.minimum(time, end)
        times, where = Grid.of_events(seen, days), np.array(arms.scored.hospitals)
        return [
            WeightedRiskTable.from_patients(seen[rows], days[rows], arms.arm[rows], weights[rows], times)
            for rows in (where == name for name in dict.fromkeys(arms.scored.hospitals))
        ]

    def _ratios(self, arms: Arms) -> dict[str, Figure]:
        figures = {}
        for name, weights in (("weighted", arms.weights), ("unweighted", np.ones(len(arms.arm)))):
            table = total(self.tables(arms, weights))
            log_ratio = table.hazard_ratio()
            outcomes = {
                "treated with the event": int(table.counts[0, 1].sum()),
                "controls with the event": int(table.counts[0, 0].sum()),
            }
            text = f"hazard ratio, {name} Cox of hospitals' summed tables (Shu et al. 2020), ties Efron"
            few = [key for key, count in outcomes.items() if is_small(count, _LEAST)]
            facts = (len(arms.arm), {} if few else outcomes, text)
            if few or math.isnan(log_ratio.value):
                reason = (
                    f"fewer than {_LEAST} {few[0]}" if few else "an arm has no event, or the likelihood is monotone"
                )
                figures[f"hazard_ratio/{name}"] = Figure(None, None, None, *facts, reason=reason)
                continue
            low, high = (math.exp(log_ratio.value + sign * _QUANTILE * log_ratio.error) for sign in (-1, 1))
            figures[f"hazard_ratio/{name}"] = Figure(
                math.exp(log_ratio.value), low, high, *facts, "95 %, normal, robust (Lin & Wei 1989), weights as known"
            )
        return figures

    def _control(self, arms: Arms) -> dict[str, Figure]:
        """The negative control outcome: a difference after weighting tells of what the weights do not mend."""
        if self.negative_control is None:
            return {}
        outcome = arms.scored.column(self.negative_control, "tool.negative_control")
        rows = outcome.notna().to_numpy()
        figures = {}
        for name, weights in (("weighted", arms.weights), ("unweighted", np.ones(len(rows)))):
            value, error = weighted_difference(outcome.to_numpy(np.float64)[rows], arms.arm[rows], weights[rows])
            text = f"{name} difference in {self.negative_control}, which treatment cannot change"
            interval = (value - _QUANTILE * error, value + _QUANTILE * error)
            figures[f"negative_control/{name}"] = Figure(value, *interval, int(rows.sum()), {}, text, "95 %, robust")
            p = two_sided(value / error) if error > 0 else float(value == 0)
            figures[f"negative_control/{name}_p"] = plain_figure(p, int(rows.sum()), {}, f"two-sided p of a {text}")
        return figures


def _differences(arms: Arms, weights: Floats) -> dict[str, float]:
    values = standardised_differences(arms.design.to_numpy(np.float64), arms.arm, weights)
    return dict(zip(arms.design.columns, values.tolist(), strict=True))


def _sizes(arms: Arms) -> dict[str, Figure]:
    figures = {}
    for name, place in (("treated", 1), ("controls", 0)):
        weights = arms.weights[arms.arm == place]
        size = float(weights.sum() ** 2 / (weights**2).sum())
        figures[f"effective/{name}"] = plain_figure(size, len(weights), {}, "effective sample size (Kish 1965)")
        figures[f"largest_share/{name}"] = plain_figure(
            float(weights.max() / weights.sum()), len(weights), {}, "share of the arm's weight that one patient has"
        )
    ends = [np.quantile(arms.chance[arms.arm == place], [0.0, 1.0]) for place in (0, 1)]
    low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    inside = float(((arms.chance >= low) & (arms.chance <= high)).mean())
    text = "share of patients whose chance of treatment both arms reach"
    return {**figures, "overlap": plain_figure(inside, len(arms.arm), {}, text)}


def _table(figures: dict[str, Figure]) -> pd.DataFrame:
    shown = {name: figure for name, figure in figures.items() if not name.startswith("largest_difference")}
    rows = {name.replace("_", " "): [words(figure), figure.estimator] for name, figure in shown.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value (95 % interval)", "what it is"])


def _by_hospital(arms: Arms) -> pd.DataFrame:
    where, hospitals = np.array(arms.scored.hospitals), list(dict.fromkeys(arms.scored.hospitals))
    counts = np.array([[int((arms.arm[where == name] == place).sum()) for place in (1, 0)] for name in hospitals])
    cells = cells_in_words(counts, hidden_cells(counts, _LEAST))
    return pd.DataFrame(cells, index=hospitals, columns=["treated", "controls"])
