"""Statistics of survival: how risk ranks patients, and how far predicted survival can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics, listed
from foundation.statistics.concordance import (
    PairSums,
    harrell_c,
    harrell_c_bounds,
    harrell_pairs,
    time_dependent_auc,
    uno_c,
)
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid
from foundation.statistics.horizons import DCalibrationTable, HorizonTable
from foundation.statistics.survival import SurvivalTable, on_times
from foundation.statistics.table import total

YEARS = 15
TIMES = Grid.months(YEARS)
RISKS = Grid.steps(-6, 6, 0.1)
Baseline = tuple[Column, Column]
_ENDS = ("events by then", "followed beyond")


class SurvivalStatistics(TaskStatistics):
    """Of events, times in days, and log hazards.

    Args:
        event: label column, 1 where the event was seen.
        time: label column, days.
        horizons: days at which survival is predicted.
        baseline: days and cumulative baseline hazard up to each, of a model that predicts survival; one that ranks
            alone has none.
        times: grid.
        scores: grid of log hazards.
        cuts: log hazards between risk groups.
    """

    primary = "c_index"

    def __init__(
        self,
        event: str,
        time: str,
        horizons: Sequence[int],
        baseline: Baseline | None = None,
        times: Grid = TIMES,
        scores: Grid = RISKS,
        cuts: Sequence[float] = (),
    ) -> None:
        self.event = event
        self.time = time
        self.horizons = tuple(float(days) for days in horizons)
        self.baseline = baseline
        self.times = times
        self.scores = scores
        self.cuts = tuple(cuts)

    @property
    def believes(self) -> bool:
        """Whether survival is predicted, beside a ranking."""
        return self.baseline is not None

    def risk(self, estimates: Column) -> Column:
        """By what estimates rank patients, `[patients]`."""
        return estimates

    def exact(self, targets: Targets, estimates: Column) -> Self:
        times = Grid.of_events(targets[self.event], targets[self.time], self.horizons)
        days = [int(horizon) for horizon in self.horizons]
        return type(self)(
            self.event, self.time, days, self.baseline, times, Grid.exact(self.risk(estimates)), self.cuts
        )

    def ranking(self) -> Self:
        days = [int(horizon) for horizon in self.horizons]
        return type(self)(self.event, self.time, days, None, self.times, self.scores, self.cuts)

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        event, time, risk = targets[self.event], targets[self.time], self.risk(estimates)
        tables: Tables = {
            "survival": SurvivalTable.from_patients(event, time, risk, self.times, self.scores, weights),
            "within": self._within(event, time, risk, np.asarray(hospitals), weights),
        }
        if self.believes:
            survival = self.survival(estimates, np.array(self.horizons))
            tables["horizons"] = HorizonTable.from_patients(event, time, survival, self.times, self.horizons, weights)
            for group in range(len(self.cuts) + 1):
                rows = self._group(risk) == group
                part = None if weights is None else weights[:1, rows]  # drawn as a curve, which has no interval
                columns = event[rows], time[rows], survival[rows]
                tables[f"horizons/{group}"] = HorizonTable.from_patients(*columns, self.times, self.horizons, part)
            at_own = self.survival(estimates, time[:, None])[:, 0]
            tables["d_calibration"] = DCalibrationTable.from_patients(event, at_own, weights)
        return tables

    def empty(self, replicates: int = 0) -> Tables:
        tables: Tables = {
            "survival": SurvivalTable.empty(self.times, self.scores, replicates),
            "within": PairSums.empty(replicates),
        }
        if self.believes:
            tables["horizons"] = HorizonTable.empty(self.times, self.horizons, replicates)
            for group in range(len(self.cuts) + 1):
                tables[f"horizons/{group}"] = HorizonTable.empty(self.times, self.horizons)
            tables["d_calibration"] = DCalibrationTable.empty(replicates=replicates)
        return tables

    def survival(self, estimates: Column, days: Column) -> Column:
        """Predicted survival at days, `[days]` or `[patients, days]`: `[patients, days]`."""
        assert self.baseline is not None
        place = np.searchsorted(self.baseline[0], days, side="right")
        hazard = np.concatenate([[0.0], self.baseline[1]])[place]
        return np.asarray(np.exp(-hazard * np.exp(estimates)[:, None]))

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        table = tables["survival"].occupied()
        censored, events = (int(count) for count in table.outcomes()[0])
        outcomes = {"events": events, "censored": censored}
        n = censored + events

        def measure(values: Column, estimator: str) -> Measure:
            return Measure(values, estimator, n, outcomes, ("events",))

        last = self.horizons[-1]
        ranking = {
            "c_index": measure(harrell_c(table), "Harrell's C, ties in score half, tied events no pair"),
            "c_index_within_hospitals": measure(tables["within"].c(), "Harrell's C over pairs within a hospital"),
            "uno_c": measure(uno_c(table, last), f"Uno's C up to {last:g} days, weights G(t-)^-2 of these patients"),
        }
        for days in self.horizons:
            estimator = "cumulative/dynamic AUC at {}, weights 1/G(t-) (Uno 2007)"
            ranking[f"auc/{days:g}_days"] = self._at(table, days, time_dependent_auc(table, days), estimator)
        if not self.believes:
            return ranking
        believing = {
            "integrated_brier": measure(tables["horizons"].integrated_brier(), "Brier score, mean over the horizons"),
            "d_calibration_p": replace(
                measure(tables["d_calibration"].test().p(), "p of D-calibration, 10 bins"), single=True
            ),
        }
        return ranking | believing | self._errors(tables)

    def _errors(self, tables: Mapping[str, Any]) -> dict[str, Measure]:
        """At each horizon."""
        horizons = tables["horizons"]
        brier, ratio, null = horizons.brier(), horizons.observed_to_expected(), horizons.brier_of_kaplan_meier()
        measures = {}
        for place, days in enumerate(self.horizons):
            values = {
                "brier": (brier[:, place], "Brier score at {}, weights 1/G (Graf 1999)"),
                "brier_gain": (
                    1 - brier[:, place] / np.where(null[:, place] > 0, null[:, place], np.nan),
                    "1 - Brier over that of Kaplan–Meier, at {}",
                ),
                "observed_to_expected": (ratio[:, place], "events by {}, Kaplan–Meier over predicted; ideal 1"),
            }
            for name, (column, estimator) in values.items():
                measures[f"{name}/{days:g}_days"] = self._at(tables["survival"], days, column, estimator)
        return measures

    def _at(self, table: SurvivalTable, days: float, values: Column, estimator: str) -> Measure:
        """A measure at a horizon, which needs patients who had the event by then, and patients followed beyond."""
        cell = table.times.up_to(days)
        counts = table.counts[0].sum(axis=2)
        ends = dict(zip(_ENDS, (int(counts[1, :cell].sum()), int(counts[:, cell:].sum())), strict=True))
        censored, events = (int(count) for count in counts.sum(axis=1))
        outcomes = {"events": events, "censored": censored, **ends}
        return Measure(values, estimator.format(f"{days:g} days"), censored + events, outcomes, _ENDS)

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        table = tables["survival"].row()
        low, high = harrell_c_bounds(table)
        curves: dict[str, Any] = {"c_index_before_rounding": {"low": listed(low)[0], "high": listed(high)[0]}}
        groups = table.by_group(self.cuts)
        test = groups.log_rank()
        curves["log_rank"] = {
            "chi_squared": listed(test.statistic)[0],
            "freedom": test.freedom,
            "p": listed(test.p())[0],
        }
        curves["kaplan_meier"] = [
            {
                "group": place,
                "days": table.times.values.tolist(),
                "survival": listed(curve.value[0]),
                "variance": listed(curve.variance[0]),
                "at_risk": curve.at_risk[0].tolist(),
            }
            for place, curve in enumerate(groups.group(cell).kaplan_meier() for cell in range(len(groups.scores)))
        ]
        if self.believes:
            curves["d_calibration"] = listed(tables["d_calibration"].shares()[0])
            curves["calibration"] = [
                {"group": group, "days": list(self.horizons), **_calibration(tables[f"horizons/{group}"].row())}
                for group in range(len(self.cuts) + 1)
            ]
        return curves

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        """Outputs are the horizons; a label is 1 for an event by it and None where censoring came first."""
        days = np.array(self.horizons)
        survival = self.survival(estimates, days) if self.believes else np.full((len(estimates), len(days)), np.nan)
        rows = zip(targets[self.event], targets[self.time], self.risk(estimates), survival, strict=True)
        return [
            {
                "output": f"event by {horizon:g} days",
                "label": None if not event and time < horizon else float(event == 1 and time <= horizon),
                "prediction": float(risk),
                "probability": 1 - float(alive) if np.isfinite(alive) else None,
            }
            for event, time, risk, curve in rows
            for horizon, alive in zip(self.horizons, curve, strict=True)
        ]

    def _group(self, risk: Column) -> NDArray[Any]:
        """The risk group of each patient, after rounding as in the tables."""
        rounded = self.scores.values[self.scores.index(risk)]
        return np.searchsorted(np.asarray(self.cuts), rounded, side="right")

    def _within(
        self, event: Column, time: Column, risk: Column, hospitals: NDArray[Any], weights: NDArray[Any] | None
    ) -> PairSums:
        """Pairs within each hospital, on its own few values after rounding: the pairs of the grid, in less time."""
        seen, at = on_times(event, time, self.times)
        rounded, scores = self.times.values[at], self.scores.values[self.scores.index(risk)]
        sums = [PairSums.empty(0 if weights is None else len(weights) - 1)]
        for name in np.unique(hospitals):
            rows = hospitals == name
            grids = Grid.exact(rounded[rows]), Grid.exact(scores[rows])
            part = None if weights is None else weights[:, rows].astype(np.int64)
            sums.append(
                harrell_pairs(SurvivalTable.from_patients(seen[rows], rounded[rows], scores[rows], *grids, part))
            )
        return total(sums)


def _calibration(table: HorizonTable) -> dict[str, Any]:
    """Mean predicted risk of an event by each horizon, beside what Kaplan–Meier observed."""
    n = int(table.counts[0].sum())
    predicted = 1 - table.sums[0, 0].sum(axis=(1, 2)) / n if n else np.full(len(table.horizons), np.nan)
    observed = np.array([1 - table.survival().survival_at(days)[0] for days in table.horizons])
    return {"patients": n, "predicted": listed(predicted), "observed": listed(observed if n else predicted)}
