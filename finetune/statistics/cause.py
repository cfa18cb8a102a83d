"""Statistics of one cause among several: how its risk ranks patients, and whether its incidence comes true."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, listed
from finetune.statistics.survival import RISKS, TIMES
from foundation.statistics.competing import CauseTable, IncidenceTable
from foundation.statistics.concordance import PairSums, harrell_c, harrell_pairs
from foundation.statistics.grid import Grid
from foundation.statistics.table import total

_SURE = 1e-12
_ENDS = ("events by then", "known not by then")


class CauseStatistics:
    """Of one cause: incidence to the end of intervals, `[patients, intervals]`, or log hazards that rank, `[patients]`.

    Args:
        cause: label column, 0 where the patient was censored.
        code: of the cause in it.
        name: of the cause.
        time: label column, days.
        horizons: days at which incidence is predicted; patients are ranked by that up to the last.
        edges: days at which intervals end.
        cuts: between risk groups.
        ranks: whether patients are ranked alone.
        times: grid.
        scores: grid of `risk`.
    """

    def __init__(
        self,
        cause: str,
        code: int,
        name: str,
        time: str,
        horizons: Sequence[float],
        edges: Sequence[float],
        cuts: Sequence[float],
        ranks: bool = False,
        times: Grid = TIMES,
        scores: Grid = RISKS,
    ) -> None:
        self.cause, self.code, self.name, self.time = cause, code, name, time
        self.horizons = tuple(float(days) for days in horizons)
        self.edges = tuple(float(days) for days in edges)
        self.cuts = tuple(cuts)
        self.ranks, self.times, self.scores = ranks, times, scores

    def on(self, ranks: bool, times: Grid, scores: Grid) -> "CauseStatistics":
        """The same on other grids, or of a model that ranks alone."""
        declared = self.cause, self.code, self.name, self.time, self.horizons, self.edges, self.cuts
        return CauseStatistics(*declared, ranks, times, scores)

    def risk(self, estimates: Column) -> Column:
        """By what estimates rank patients, `[patients]`."""
        if estimates.ndim == 1:
            return estimates
        return log_log_incidence(incidence_at(estimates, self.edges, self.horizons[-1:])[:, 0])

    def kinds(self, targets: Targets) -> Column:
        """0 where censored, 1 for the cause, 2 for another one: `[patients]`."""
        cause = targets[self.cause]
        return np.where(cause == self.code, 1.0, np.where(cause > 0, 2.0, 0.0))

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None
    ) -> Tables:
        kind, time, risk = self.kinds(targets), targets[self.time], self.risk(estimates)
        tables: Tables = {
            "cause": CauseTable.from_patients(kind, time, risk, self.times, self.scores, weights),
            "within": self._within(kind, time, risk, np.asarray(hospitals), weights),
        }
        if not self.ranks:
            incidence = incidence_at(estimates, self.edges, self.horizons)
            grids = self.times, self.horizons
            tables["horizons"] = IncidenceTable.from_patients(kind, time, incidence, *grids, weights)
            rounded = self.scores.values[self.scores.index(risk)]
            group = np.searchsorted(np.asarray(self.cuts), rounded, side="right")
            for place in range(len(self.cuts) + 1):
                rows = group == place
                part = None if weights is None else weights[:1, rows]  # drawn as a curve, which has no interval
                columns = kind[rows], time[rows], incidence[rows]
                tables[f"horizons/{place}"] = IncidenceTable.from_patients(*columns, *grids, part)
        return tables

    def empty(self, replicates: int) -> Tables:
        tables: Tables = {
            "cause": CauseTable.empty(self.times, self.scores, replicates),
            "within": PairSums.empty(replicates),
        }
        if not self.ranks:
            tables["horizons"] = IncidenceTable.empty(self.times, self.horizons, replicates)
            for place in range(len(self.cuts) + 1):
                tables[f"horizons/{place}"] = IncidenceTable.empty(self.times, self.horizons)
        return tables

    def measures(self, tables: Mapping[str, Any]) -> dict[str, Measure]:
        table: CauseTable = tables["cause"].occupied()
        outcomes = dict(zip(("censored", "events", "other causes"), map(int, table.outcomes()[0]), strict=True))
        n, last = sum(outcomes.values()), self.horizons[-1]

        def measure(values: Column, estimator: str) -> Measure:
            return Measure(values, estimator, n, outcomes, ("events",))

        cause_specific = table.of_cause()
        ranking = {
            "c_index": measure(harrell_c(cause_specific), "Harrell's C, other causes censored; ties in score half"),
            "c_index_within_hospitals": measure(
                tables["within"].c(), "Harrell's C over pairs within a hospital, other causes censored"
            ),
            "c_incidence": measure(
                table.concordance(last),
                f"C of cumulative incidence up to {last:g} days, weights of censoring (Wolbers 2014)",
            ),
        }
        for days in self.horizons:
            words = "AUC of the cause by {}, against all others, weights 1/G (Blanche 2013)"
            ranking[f"auc/{days:g}_days"] = self._at(table, days, table.auc(days), words)
        return ranking if self.ranks else ranking | self._errors(tables)

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        table: CauseTable = tables["cause"].row()
        groups = table.by_group(self.cuts)
        curves: dict[str, Any] = {"incidence": []}
        for place, group in enumerate(groups.group(cell) for cell in range(len(groups.scores))):
            at_risk = group.any_event().at_risk().sum(axis=2)[0].tolist()
            row = {"days": table.times.values.tolist(), "incidence": listed(group.incidence()[0]), "at_risk": at_risk}
            curves["incidence"].append({"group": place, **row})
        if not self.ranks:
            parts = [tables[f"horizons/{place}"].row() for place in range(len(self.cuts) + 1)]
            curves["calibration"] = [
                {
                    "group": place,
                    "days": list(self.horizons),
                    "patients": int(part.counts[0].sum()),
                    "predicted": listed(part.predicted()[0]),
                    "observed": listed(part.observed()[0]),
                }
                for place, part in enumerate(parts)
            ]
        return curves

    def predictions(self, targets: Targets, estimates: Column) -> list[list[dict[str, Any]]]:
        """A row a patient and horizon; a label is None where censoring came before the horizon."""
        chances = (
            np.full((len(estimates), len(self.horizons)), np.nan)
            if self.ranks
            else incidence_at(estimates, self.edges, self.horizons)
        )
        rows = zip(self.kinds(targets), targets[self.time], self.risk(estimates), chances, strict=True)
        return [
            [
                {
                    "output": f"{self.name} by {horizon:g} days",
                    "label": None if kind == 0 and time < horizon else float(kind == 1 and time <= horizon),
                    "prediction": float(risk),
                    "probability": float(chance) if np.isfinite(chance) else None,
                }
                for horizon, chance in zip(self.horizons, curve, strict=True)
            ]
            for kind, time, risk, curve in rows
        ]

    def _errors(self, tables: Mapping[str, Any]) -> dict[str, Measure]:
        """How far predicted incidence can be believed, at each horizon."""
        table: IncidenceTable = tables["horizons"]
        brier, null = table.brier(), table.brier_of_incidence()
        observed, predicted = table.observed(), table.predicted()
        columns = {
            "brier": (brier, "Brier score of incidence at {}, weights 1/G (Schoop 2011)"),
            "brier_gain": (
                1 - brier / np.where(null > 0, null, np.nan),
                "1 - Brier over that of Aalen–Johansen, at {}",
            ),
            "observed_to_expected": (
                observed / np.where(predicted > 0, predicted, np.nan),
                "incidence by {}, Aalen–Johansen over predicted; ideal 1",
            ),
            "incidence": (observed, "cumulative incidence by {} (Aalen & Johansen 1978)"),
        }
        whole: CauseTable = tables["cause"]
        mean = self._at(whole, self.horizons[-1], table.integrated_brier(), "Brier score, mean over the horizons to {}")
        measures = {"integrated_brier": mean}
        for place, days in enumerate(self.horizons):
            for name, (values, words) in columns.items():
                measures[f"{name}/{days:g}_days"] = self._at(whole, days, values[:, place], words)
        return measures

    def _at(self, table: CauseTable, days: float, values: Column, estimator: str) -> Measure:
        """A measure at a horizon, which needs patients who had the cause by then, and others known not to."""
        cell = table.times.up_to(days)
        counts = table.counts[0].sum(axis=2)
        others = int(counts[2, :cell].sum() + counts[:, cell:].sum())
        ends = dict(zip(_ENDS, (int(counts[1, :cell].sum()), others), strict=True))
        censored, events, other_causes = (int(count) for count in counts.sum(axis=1))
        outcomes = {"events": events, "other causes": other_causes, "censored": censored, **ends}
        return Measure(values, estimator.format(f"{days:g} days"), int(counts.sum()), outcomes, _ENDS)

    def _within(
        self, kind: Column, time: Column, risk: Column, hospitals: NDArray[Any], weights: NDArray[Any] | None
    ) -> PairSums:
        """Pairs within each hospital, on its own few values after rounding: the pairs of the grid, in less time."""
        rounded, scores = self.times.values[self.times.index(time)], self.scores.values[self.scores.index(risk)]
        kind = np.where(time <= self.times.values[-1], kind, 0.0)
        sums = [PairSums.empty(0 if weights is None else len(weights) - 1)]
        for name in np.unique(hospitals):
            rows = hospitals == name
            grids = Grid.exact(rounded[rows]), Grid.exact(scores[rows])
            part = None if weights is None else weights[:, rows].astype(np.int64)
            table = CauseTable.from_patients(kind[rows], rounded[rows], scores[rows], *grids, part)
            sums.append(harrell_pairs(table.of_cause()))
        return total(sums)


def incidence_at(curve: Column, edges: Sequence[float], days: Sequence[float]) -> Column:
    """Cumulative incidence at days, `[patients, days]`, of that to the end of intervals, `[patients, intervals]`.

    Events are spread evenly within an interval; beyond the last one incidence stays.
    """
    ends, values = np.array([0.0, *edges]), np.pad(curve, ((0, 0), (1, 0)))
    days = np.minimum(np.asarray(days, dtype=np.float64), ends[-1])
    place = np.clip(np.searchsorted(ends, days, side="left"), 1, len(edges))
    share = (days - ends[place - 1]) / (ends[place] - ends[place - 1])
    return np.asarray(values[:, place - 1] + share * (values[:, place] - values[:, place - 1]))


def log_log_incidence(incidence: Column) -> Column:
    """Logarithm of the cumulative hazard that would give an incidence: the scale of Fine & Gray 1999."""
    bounded = np.clip(incidence, _SURE, 1 - _SURE)
    return np.asarray(np.log(-np.log1p(-bounded)))
