"""Trial tools beside their bars, on a real cohort: false alarms, power, saving, hazard ratios across hospitals.

    PYTHONPATH=. python scripts/bench/trial.py --run runs/glioma/experts/evaluation

False alarms are counted over trials without effect, drawn from the patients of a run (the bar: 4 to 6 %); power is held
against its formula (the bar: 2 points); the saving has an interval. Figures come last. Of a binary and a continuous
endpoint the cohort measures nothing after treatment: IDH status and age stand in for one, to hold formula against
counting alone. The model reads both or what holds them, so the command refuses age and doubts IDH, and no saving is
told of them here.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from lifelines import CoxPHFitter

from finetune.page import words
from finetune.stratification.risk import RiskGroups
from finetune.trial.adjustment import Adjustment
from finetune.trial.endpoints import endpoint_of
from finetune.trial.external import ExternalControl
from finetune.trial.patients import ScoredPatients, read_scored
from foundation.statistics.table import total

_PRECISE = {"precision": 1e-13}
_ENDPOINTS = (("time_to_event", None, 0.7), ("binary", "idh", 0.7), ("continuous", "age", -5.0))


def main() -> None:
    """Prints a line a figure, its bar beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="output folder of an evaluation of survival")
    parser.add_argument("--trials", type=int, default=2000, help="simulated trials of each kind")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument(
        "--follow-up", type=float, default=None, help="days; as long as the cohort was followed if none"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    scored = read_scored(options.run, ["test"])
    lines = []
    for name, outcome, effect in _ENDPOINTS:
        if outcome is None or outcome in scored.table:
            lines += adjustment(scored, name, outcome, effect, options)
    lines += risk_groups(scored, options.seed) + hazard_ratio(read_scored(options.run, ["test", "train", "validation"]))
    print("\n".join(lines))


def adjustment(
    scored: ScoredPatients, name: str, outcome: str | None, effect: float, options: argparse.Namespace
) -> list[str]:
    """Power, false alarms and saving of one endpoint."""
    follow_up = options.follow_up
    tool = Adjustment(
        name, outcome, effect=effect, follow_up=follow_up, simulations=options.trials, resamples=options.resamples
    )
    endpoint = endpoint_of(name, scored, outcome, follow_up)
    plan, savings = tool.plan(endpoint, options.seed), tool.savings(endpoint, options.seed)
    lines = [f"{name}, {endpoint.effect} {effect:g}, {len(endpoint.scored.table)} patients of {options.run}"]
    for place, kind in enumerate(("plain", "adjusted")):
        formula = [tool.design.power_of(size, plan.signals[place]) for size in plan.sizes]
        told = [(drawn.plain, drawn.adjusted)[place] for drawn in plan.simulated]
        alarms = plan.false_alarms.plain, plan.false_alarms.adjusted
        gaps = np.abs(np.array(formula) - told)
        lines += [
            f"  false alarms, {kind}: {alarms[place]:.4f} (bar 0.04 to 0.06)",
            f"  power, {kind}: {told[1]:.3f} simulated, {formula[1]:.3f} by formula at {plan.sizes[1]} patients; "
            f"{told[0]:.3f} and {formula[0]:.3f} at {plan.sizes[0]}; largest gap {gaps.max():.3f} (bar 0.02)",
        ]
    if outcome is not None:  # the score's model reads what stands in for an outcome here: no saving can be told of it
        return lines
    lines += [f"  {text}: {words(savings[key])}" for key, text in (
        ("saving", "patients spared"), ("saving/new_hospital", "as hospitals vary"), ("explained", "noise explained"),
    ) if key in savings]  # fmt: skip
    return lines


def hazard_ratio(scored: ScoredPatients) -> list[str]:
    """The weighted hazard ratio of hospitals' summed tables beside lifelines' of all patients, tied and not."""
    event, time = scored.survival()
    tool = ExternalControl(arm="male", covariates=["age", "grade", "histology"], estimand="all")
    known = scored.known(event, time, "sex")
    lines = []
    for name in ("days as they are", "days moved apart by less than one"):
        table = known.table.assign(male=(known.table["sex"] == "M").astype(float))
        if name != "days as they are":
            table[time] += np.random.default_rng(0).permutation(len(table)) / len(table)
        arms = tool.arms(replace(known, table=table))
        tables = tool.tables(arms, arms.weights)
        summed = total(tables).hazard_ratio()
        frame = arms.scored.table[[event, time]].astype(float).assign(arm=arms.arm, weights=arms.weights)
        fit = CoxPHFitter().fit(frame, time, event, weights_col="weights", robust=True, fit_options=_PRECISE)
        gaps = abs(summed.value - fit.params_["arm"]), abs(summed.error - fit.standard_errors_["arm"])
        lines.append(
            f"weighted log hazard ratio of {len(tables)} hospitals' tables, {name}: {summed.value:.6f} "
            f"({summed.error:.6f}), from lifelines by {gaps[0]:.1e}, robust error by {gaps[1]:.1e} (bar 1e-6)"
        )
    return lines


def risk_groups(scored: ScoredPatients, seed: int) -> list[str]:
    """Thirds of the training patients' scores, among patients of hospitals that training never saw."""
    page = RiskGroups().run(scored, seed)
    p = page.figures["risk/log_rank_p"].value
    high = words(page.figures["risk/hazard_ratio/high"], 1)
    return [f"risk groups: log-rank p {p:.1e} (bar 1e-6), hazard ratio of high against low {high}"]


if __name__ == "__main__":
    main()
