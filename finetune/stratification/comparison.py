"""How groups of patients fare, from a table of events and censorings by time and group, which hospitals can add."""

import math
from dataclasses import dataclass

import numpy as np

from foundation.statistics.cox import CoxSums
from foundation.statistics.figure import Figure
from foundation.statistics.grid import Grid
from foundation.statistics.newton import Newton
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats

_QUANTILE = 1.959963984540054
_NORMAL = "95 %, normal"


@dataclass(frozen=True)
class Comparison:
    """Figures of groups, the first of which the others are held against.

    Attributes:
        table: `[1, 2, times, groups]`.
        names: of the groups.
        least: events or censorings that a group must have for a figure of it; see `Support`.
    """

    table: SurvivalTable
    names: tuple[str, ...]
    least: int = 5

    @property
    def sizes(self) -> list[dict[str, int]]:
        """Censored and events of each group."""
        counts = self.table.counts[0].sum(axis=1)
        return [
            {"events": int(counts[1, group]), "censored": int(counts[0, group])} for group in range(len(self.names))
        ]

    def figures(self, horizons: list[float]) -> dict[str, Figure]:
        """Log-rank, hazard ratios, and survival and restricted mean survival at horizons with their differences."""
        figures = self.hazards()
        for days in horizons:
            figures |= self.at(days)
        return figures

    def hazards(self) -> dict[str, Figure]:
        """Log-rank and hazard ratios."""
        return {"log_rank_p": self.log_rank(), **self.hazard_ratios()}

    def log_rank(self) -> Figure:
        """The p of no difference between the groups."""
        total = {name: sum(size[name] for size in self.sizes) for name in ("events", "censored")}
        test = self.table.log_rank()
        name = f"p of the log-rank test (Mantel 1966), chi-squared with {test.freedom} degrees of freedom"
        value = float(test.p()[0])
        if math.isnan(value):
            return Figure(None, None, None, sum(total.values()), total, name, reason="all patients are in one group")
        return Figure(value, None, None, sum(total.values()), total, name)

    def hazard_ratios(self) -> dict[str, Figure]:
        """Of each group against the first: Cox's partial likelihood, ties by Efron."""
        groups = range(1, len(self.names))
        name = f"hazard ratio against {self.names[0]}, Cox, ties Efron"
        used = [group for group in (0, *groups) if self.sizes[group]["events"] >= self.least]
        figures = {}
        fitted = self._cox([group for group in used if group]) if 0 in used and len(used) > 1 else {}
        for group in groups:
            outcomes = {key: self.sizes[0][key] + self.sizes[group][key] for key in self.sizes[0]}
            facts = (sum(outcomes.values()), outcomes, name)
            if group not in fitted or not math.isfinite(fitted[group][0]):
                reason = f"fewer than {self.least} events in one of the two groups"
                figures[f"hazard_ratio/{self.names[group]}"] = Figure(None, None, None, *facts, reason=reason)
                continue
            beta, error = fitted[group]
            low, high = (math.exp(beta + sign * _QUANTILE * error) for sign in (-1, 1))
            figures[f"hazard_ratio/{self.names[group]}"] = Figure(math.exp(beta), low, high, *facts, _NORMAL)
        return figures

    def at(self, days: float) -> dict[str, Figure]:
        """Survival and restricted mean survival of each group at a horizon, and differences to the first."""
        figures: dict[str, Figure] = {}
        means = []
        for group, name in enumerate(self.names):
            arm, size = self.table.group(group), self.sizes[group]
            n, followed = sum(size.values()), self._followed(group, days)
            reason = f"{followed} patients of the group at risk at {days:g} days, of {self.least} that it takes"
            curve, inside = arm.kaplan_meier(), arm.times.up_to(days)
            end = _end(arm, inside)
            survival = 0.0 if end is not None else float(arm.survival_at(days)[0])
            spread = math.sqrt(float(curve.variance[0, inside - 1])) if inside and end is None else 0.0
            mean, variance = (float(values[0]) for values in arm.rmst(days if end is None else end))
            defined = followed >= self.least or (survival == 0 and n >= self.least)
            means.append((mean, variance, n, defined))
            for key, value, error, what in (
                ("survival", survival, spread, "Kaplan–Meier, Greenwood"),
                ("rmst", mean, math.sqrt(variance), "restricted mean survival, days"),
            ):
                text = f"{what}, at {days:g} days"
                low, high = value - _QUANTILE * error, value + _QUANTILE * error
                if key == "survival":
                    low, high = max(0.0, low), min(1.0, high)
                figures[f"{key}/{days:g}_days/{name}"] = (
                    Figure(value, low, high, n, size, text, _NORMAL)
                    if defined
                    else Figure(None, None, None, n, size, text, reason=reason)
                )
        for group, name in enumerate(self.names[1:], start=1):
            gap, error = means[group][0] - means[0][0], math.sqrt(means[group][1] + means[0][1])
            n = means[group][2] + means[0][2]
            text = f"restricted mean survival less that of {self.names[0]}, days, at {days:g} days"
            outcomes = {key: self.sizes[0][key] + self.sizes[group][key] for key in self.sizes[0]}
            figures[f"rmst_difference/{days:g}_days/{name}"] = (
                Figure(gap, gap - _QUANTILE * error, gap + _QUANTILE * error, n, outcomes, text, _NORMAL)
                if means[group][3] and means[0][3]
                else Figure(None, None, None, n, outcomes, text, reason=f"too few of a group at risk at {days:g} days")
            )
        return figures

    def at_risk(self, days: Floats) -> "np.typing.NDArray[np.int64]":
        """Patients of each group at risk at days: `[groups, days]`."""
        counts = self.table.at_risk()[0]
        cells = np.array([self.table.times.from_cell(day) for day in days])
        padded = np.concatenate([counts, np.zeros((1, counts.shape[1]), dtype=np.int64)])
        return np.asarray(padded[cells].T)

    def _followed(self, group: int, days: float) -> int:
        return int(self.at_risk(np.array([days]))[group, 0])

    def _cox(self, groups: list[int]) -> dict[int, tuple[float, float]]:
        """Log hazard ratio and its error by group: each cell of the table is a patient who counts as often."""
        seen, time, group = np.nonzero(self.table.counts[0])
        kept = np.isin(group, [0, *groups])
        seen, time, group = seen[kept], time[kept], group[kept]
        weights = self.table.counts[0][seen, time, group][None]
        covariates = (group[:, None] == np.array(groups)).astype(np.float64)
        newton = Newton(len(groups))
        while not newton.done:
            days = self.table.times.values[time]
            sums = CoxSums.from_patients(seen, days, covariates, self.table.times, np.nan_to_num(newton.beta), weights)
            newton.update(sums.newton())
        return {
            place: (float(newton.beta[0, at]), float(newton.standard_error[0, at])) for at, place in enumerate(groups)
        }


def _end(arm: SurvivalTable, inside: int) -> float | None:
    """When the last of a group had the event, within the first cells; None where somebody is left or was censored last.

    The curve is 0 from there on, and adds nothing to the mean.
    """
    curve = arm.kaplan_meier()
    followed = np.flatnonzero(curve.at_risk[0, :inside])
    if len(followed) == inside or not len(followed) or curve.value[0, followed[-1]] > 0:
        return None
    return float(arm.times.values[followed[-1]])


def table_of(event: Floats, time: Floats, group: Floats, groups: int, times: Grid | None = None) -> SurvivalTable:
    """Patients by time and group 0, 1, ...; at one place on all their times, else on a grid that hospitals share."""
    return SurvivalTable.from_patients(
        event, time, group, Grid.exact(time) if times is None else times, Grid(np.arange(groups, dtype=np.float64))
    )
