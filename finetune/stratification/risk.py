"""Risk groups: thresholds of the score fixed on training patients, and how the groups fare among others."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from finetune.page import Page, words
from finetune.stratification import pictures
from finetune.stratification.comparison import Comparison, table_of
from finetune.stratification.incidence import Cause, Incidence, cause_of
from finetune.stratification.incidence import curves as incidence_curves
from finetune.trial.base import Tool
from finetune.trial.patients import ScoredPatients, read_scored
from finetune.trial.settings import ascending_days, count, listed, names, number
from foundation.data.sections import Section, section
from foundation.errors import UserError
from foundation.statistics.figure import Figure
from foundation.statistics.suppression import HIDDEN, hidden_cells, hidden_note
from foundation.statistics.table import Floats

_LEAST = 5  # patients with the event, or without it, who are told as a number
_NAMES = {2: ("low", "high"), 3: ("low", "middle", "high")}


class RiskGroups(Tool):
    """Groups by score, the lowest first.

    Args:
        groups: of equal size among the patients who fix the thresholds.
        fixed_on: splits of those patients; none of them may be judged.
        cuts: thresholds themselves, ascending; then nobody fixes them.
        horizons: days.
    """

    def __init__(
        self,
        groups: int = 3,
        fixed_on: list[str] | None = None,
        cuts: list[float] | None = None,
        horizons: list[float] | None = None,
    ) -> None:
        self.groups, self.cuts = count("strata.groups", groups, 2), None
        if cuts is not None:
            wanted = "ascending thresholds of the score, or null"
            self.cuts = [number("strata.cuts", cut, wanted, math.isfinite) for cut in listed("strata.cuts", cuts, [])]
            if sorted(self.cuts) != self.cuts:
                raise UserError(f"strata.cuts: found {cuts}; give {wanted}")
        self.fixed_on = names("strata.fixed_on", fixed_on, ["train", "validation"])
        self.horizons = ascending_days("strata.horizons", horizons, (365, 1095, 1825))

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        cause = cause_of(scored.run, scored.output)
        event, time = scored.survival() if cause is None else (cause.column, cause.time)
        known = scored.known(event, time)
        cuts, whence = self._fixed(known)
        seen, days = (known.column(name, "survival").to_numpy(np.float64) for name in (event, time))
        group = np.searchsorted(cuts, known.score, side="right").astype(np.float64)
        kind = seen if cause is None else cause.kinds(seen)
        if cause is not None:
            seen = (kind == 1).astype(np.float64)
        names = _NAMES.get(len(cuts) + 1) or tuple(f"group {place + 1}" for place in range(len(cuts) + 1))
        whole = Comparison(table_of(seen, days, group, len(names)), names)
        if cause is None:
            figures = whole.figures(self.horizons)
            drawn = section("Survival by risk group", [], pictures.curves(whole))
            table = _table(whole, figures, self.horizons)
        else:
            incidence = Incidence.of(kind, days, group, cause.name, names)
            figures = {**_of_cause(whole, cause), **incidence.figures(self.horizons)}
            drawn = section(f"Incidence of {cause.name} by risk group", [], incidence_curves(incidence, whole))
            table = _incidence_table(whole, figures, self.horizons)
        p, top = figures["log_rank_p"], figures[f"hazard_ratio/{names[-1]}"]
        lead = [
            f"{len(names)} risk groups among {len(days)} patients with {int(seen.sum())} events: log-rank p = "
            + (f"{p.value:.2g}" if p.value is not None else words(p))
            + f", hazard ratio of {names[-1]} against {names[0]} {words(top, 2)}.",
            f"Thresholds of the score, {whence}: {', '.join(f'{cut:.3f}' for cut in cuts)}.",
        ]
        sections = [
            drawn,
            section("Figures", [table]),
            _by_hospital(known, seen, days, group, names),
        ]
        return Page(
            "Risk groups", lead, sections, {f"risk/{key}": value for key, value in figures.items()}, known.first
        )

    def _fixed(self, scored: ScoredPatients) -> tuple[Floats, str]:
        if self.cuts is not None:
            return np.array(self.cuts, dtype=np.float64), "as they were given"
        if set(self.fixed_on) & set(scored.split.split("+")):
            raise UserError(f"strata.fixed_on: {', '.join(self.fixed_on)} are judged, too; fix thresholds on others")
        others = read_scored(scored.run, self.fixed_on, scored.subset, scored.output)
        cuts = np.unique(np.quantile(others.score, np.arange(1, self.groups) / self.groups))
        if len(cuts) < self.groups - 1:
            raise UserError(
                f"strata.groups: scores of {', '.join(self.fixed_on)} are too alike for {self.groups} groups"
            )
        return cuts, f"fixed on {len(others.table)} patients of {' and '.join(self.fixed_on)}"


def _of_cause(comparison: Comparison, cause: Cause) -> dict[str, Figure]:
    """What compares hazards, patients of other causes censored when these came."""
    words = f"cause-specific hazards of {cause.name}"
    return {
        name: replace(figure, estimator=f"{words}: {figure.estimator}") for name, figure in comparison.hazards().items()
    }


def _sizes(comparison: Comparison, figures: dict[str, Figure]) -> dict[str, list[str]]:
    return {
        "patients": [str(sum(size.values())) for size in comparison.sizes],
        "events": [str(size["events"]) for size in comparison.sizes],
        "hazard ratio": ["1", *(words(figures[f"hazard_ratio/{name}"], 2) for name in comparison.names[1:])],
    }


def _incidence_table(comparison: Comparison, figures: dict[str, Figure], horizons: list[float]) -> pd.DataFrame:
    rows = _sizes(comparison, figures)
    for days in horizons:
        cells = [words(figures[f"incidence/{days:g}_days/{name}"]) for name in comparison.names]
        rows[f"incidence at {days:g} days"] = cells
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(comparison.names))


def _table(comparison: Comparison, figures: dict[str, Figure], horizons: list[float]) -> pd.DataFrame:
    rows = _sizes(comparison, figures)
    for days in horizons:
        at = f"{days:g}_days"
        rows[f"survival at {days:g} days"] = [words(figures[f"survival/{at}/{name}"]) for name in comparison.names]
        rows[f"mean survival up to {days:g} days"] = [
            words(figures[f"rmst/{at}/{name}"], 0) for name in comparison.names
        ]
        gaps = [words(figures[f"rmst_difference/{at}/{name}"], 0) for name in comparison.names[1:]]
        rows[f"its difference to {comparison.names[0]}, {days:g} days"] = ["", *gaps]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(comparison.names))


def _by_hospital(scored: ScoredPatients, event: Floats, time: Floats, group: Floats, names: tuple[str, ...]) -> Section:
    """The groups at each hospital, with its own log-rank test where enough have the event and enough have not."""
    where, hospitals = np.array(scored.hospitals), list(dict.fromkeys(scored.hospitals))
    parts = [
        Comparison(table_of(event[inside], time[inside], group[inside], len(names)), names)
        for inside in (where == hospital for hospital in hospitals)
    ]
    counts = np.array([[[size["events"], size["censored"]] for size in part.sizes] for part in parts])
    cells_hidden = hidden_cells(counts.reshape(len(parts), -1), _LEAST).reshape(counts.shape)
    hidden = cells_hidden[..., 0] | cells_hidden[..., 1]  # the event, or no event: one sum tells both
    rows = {}
    for place, (hospital, part, sizes) in enumerate(zip(hospitals, parts, counts, strict=True)):
        cells = [
            HIDDEN if hidden[place, column] else f"{sum(pair)} ({pair[0]})"
            for column, pair in enumerate(sizes.tolist())
        ]
        p = part.log_rank().value
        few = min(sizes.sum(axis=0)) < _LEAST
        rows[hospital] = [*cells, HIDDEN if few else "not defined" if p is None else f"{p:.2g}"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*names, "log-rank p"])
    note = f"Patients in each group, and events among them. {hidden_note(_LEAST)}"
    return section("By hospital", [table], note=note)
