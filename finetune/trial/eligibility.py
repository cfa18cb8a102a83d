"""Eligibility: which criterion loses whom, at which hospital."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finetune.page import Page
from finetune.trial.base import Tool, plain_figure
from finetune.trial.criteria import Criterion, read_criteria
from finetune.trial.patients import HOSPITAL, ScoredPatients
from finetune.trial.settings import count
from foundation.data import pictures
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.statistics.figure import Figure
from foundation.statistics.suppression import HIDDEN, cells_in_words, hidden_cells, hidden_sums

_LEFT = "eligible"
_FAIL, _ALONE, _UNKNOWN = "fail it", "lost by it alone", "unknown"


class Eligibility(Tool):
    """Counts patients who are lost, criterion by criterion.

    Args:
        criteria: YAML file of them; see `Criterion`.
        smallest: count of patients that is told; below it a cell is hidden, and another that would give it away.
    """

    def __init__(self, criteria: str | None = None, smallest: int = 5) -> None:
        if criteria is None:
            raise UserError("tool.criteria: give a YAML file of criteria; `consilium trial --help` names the tools")
        self.file, self.smallest = Path(criteria), count("tool.smallest", smallest, 1)

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        criteria = read_criteria(self.file)
        meets = np.stack([self._meets(criterion, scored) for criterion in criteria])
        names = [criterion.words for criterion in criteria]
        first = np.where(meets.all(axis=0), len(criteria), (~meets).argmax(axis=0))  # the criterion that loses each
        hospitals = list(dict.fromkeys(scored.hospitals))
        counts = _by_hospital(first, np.array(scored.hospitals), hospitals, len(names) + 1)
        totals = counts.sum(axis=1)
        hidden = hidden_cells(np.column_stack([counts, totals]), self.smallest)
        left = HIDDEN if hidden[-1, -1] else str(totals[-1])
        lead = [
            f"Eligible patients: {left} of {len(first)}, by {len(names)} criteria in the order of {self.file.name}.",
            f"Of fewer than {self.smallest} patients no number is told, nor of others that would give one away.",
        ]
        by_column, secret = self._by_criterion(criteria, meets, scored, totals, hidden[:, -1])
        words = {
            key: [self._told(*pair) for pair in zip(by_column[key].tolist(), secret[key].tolist(), strict=True)]
            for key in by_column
        }
        cells = cells_in_words(np.column_stack([counts, totals]), hidden)
        rows = [*(f"lost by {name}" for name in names), _LEFT]
        flow = pictures.flow(self._flow(names, len(first), totals, hidden[:, -1]))
        sections = [
            section("Who is left", [], flow),
            section(
                "By criterion",
                [pd.DataFrame(words, index=names)],
                note="Lost by it alone: would be eligible without it.",
            ),
            section(
                "By hospital",
                [pd.DataFrame(cells, index=rows, columns=[*hospitals, "all"])],
                note="Patients are lost by the first criterion that they fail.",
            ),
        ]
        figures = self._figures(totals, hidden[:, -1], names)
        figures |= self._alone(by_column[_ALONE], secret[_ALONE], len(first), names)
        return Page("Eligibility", lead, sections, figures, scored.first)

    def _meets(self, criterion: Criterion, scored: ScoredPatients) -> NDArray[np.bool_]:
        if criterion.column not in scored.table:
            there = ", ".join(scored.table)
            raise UserError(f"{self.file}: criterion on '{criterion.column}', which is no column; there are {there}")
        declared = {column.name: column.values for column in scored.cohort.dictionary.record}
        declared[HOSPITAL] = list(scored.cohort.hospitals)
        return criterion.meets(scored.table[criterion.column], declared.get(criterion.column, []))

    def _by_criterion(
        self,
        criteria: list[Criterion],
        meets: NDArray[np.bool_],
        scored: ScoredPatients,
        totals: NDArray[np.int64],
        hidden: NDArray[np.bool_],
    ) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.bool_]]]:
        """Counts of each criterion by column of the table, and which of them are hidden: `[criteria]` each.

        Sums of these and of who is lost first may tell a small one: of the last criterion both are the same patients.
        """
        unknown = np.array([int(scored.table[criterion.column].isna().sum()) for criterion in criteria])
        by_column = {_FAIL: (~meets).sum(axis=1), _ALONE: _lost_alone(meets).sum(axis=1), _UNKNOWN: unknown}
        kinds = _kinds(len(criteria))
        # Of a criterion on being known itself, who is unknown follows from who fails; of others it is a matter apart.
        apart = np.eye(len(criteria))
        unknowns = np.zeros((len(criteria), kinds.shape[1] + len(criteria)))
        for place, criterion in enumerate(criteria):
            if criterion.known is None:
                unknowns[place, kinds.shape[1] :] = apart[place]
            else:
                unknowns[place, : kinds.shape[1]] = ~kinds[place] if criterion.known else kinds[place]
        firsts = [kinds[:place].all(axis=0) & ~kinds[place] for place in range(len(criteria))]
        others = np.vstack([np.ones(kinds.shape[1]), firsts, kinds.all(axis=0), ~kinds, _lost_alone(kinds)])
        sums = np.vstack([np.pad(others, ((0, 0), (0, len(criteria)))), unknowns])
        counts = np.concatenate([[meets.shape[1]], totals, *by_column.values()])
        free = np.arange(len(counts)) > len(totals)
        before = np.concatenate([[False], hidden, np.zeros(free.sum(), dtype=np.bool_)])
        secret = hidden_sums(sums, counts, before, free, self.smallest)[free]
        return by_column, dict(zip(by_column, np.split(secret, len(by_column)), strict=True))

    def _told(self, count: int, secret: bool) -> str:
        if 0 < count < self.smallest:
            return f"<{self.smallest}"
        return HIDDEN if secret else str(count)

    def _flow(
        self, names: list[str], patients: int, totals: NDArray[np.int64], hidden: NDArray[np.bool_]
    ) -> list[tuple[str, int]]:
        """Steps and who is left after each; those between the first hidden loss and the last are one."""
        left, ways, pending = patients, [("patients", patients)], 0
        together: list[str] = []
        for name, lost, secret in zip(names, totals[:-1].tolist(), hidden[:-1].tolist(), strict=True):
            left -= lost
            pending += secret
            together.append(name)
            if pending in (0, int(hidden.sum())):  # what the hidden ones come to together may be told
                ways.append((" and ".join(together), left))
                together = []
        return ways

    def _figures(self, totals: NDArray[np.int64], hidden: NDArray[np.bool_], names: list[str]) -> dict[str, Figure]:
        n = int(totals.sum())
        figures = {}
        for name, patients, secret in zip([*names, _LEFT], totals.tolist(), hidden.tolist(), strict=True):
            text = "patients who meet all criteria" if name == _LEFT else "patients lost by this criterion first"
            reason = f"hidden: it, or another by it, is of fewer than {self.smallest} patients"
            figure = (
                Figure(None, None, None, n, {}, text, reason=reason) if secret else plain_figure(patients, n, {}, text)
            )
            figures[f"eligibility/{name}"] = figure
        return figures

    def _alone(
        self, counts: NDArray[np.int64], secret: NDArray[np.bool_], n: int, names: list[str]
    ) -> dict[str, Figure]:
        text = "patients lost by this criterion alone"
        reason = f"hidden: it, or another by it, is of fewer than {self.smallest} patients"
        return {
            f"eligibility/{name}/alone": _figure(None if few else count, n, text, reason)
            for name, count, few in zip(names, counts.tolist(), secret.tolist(), strict=True)
        }


def _lost_alone(meets: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Who fails a criterion and no other: `[criteria, patients]`."""
    return np.asarray(~meets & ((~meets).sum(axis=0) == 1))


def _kinds(criteria: int) -> NDArray[np.bool_]:
    """Patients who fail up to three criteria, each kind once: `[criteria, kinds]`, whether they meet it.

    Fewer kinds than there may be hide rather more than must be.
    """
    failed = [some for count in range(min(criteria, 3) + 1) for some in combinations(range(criteria), count)]
    return np.array([[place not in some for some in failed] for place in range(criteria)])


def _figure(count: int | None, n: int, text: str, reason: str) -> Figure:
    """A count, or why it is not told."""
    return Figure(None, None, None, n, {}, text, reason=reason) if count is None else plain_figure(count, n, {}, text)


def _by_hospital(
    first: NDArray[np.int64], where: NDArray[np.str_], hospitals: list[str], rows: int
) -> NDArray[np.int64]:
    """Patients by the criterion that loses them, the last row those whom none does: `[criteria + 1, hospitals]`."""
    return np.stack([np.bincount(first[where == name], minlength=rows) for name in hospitals], axis=1)
