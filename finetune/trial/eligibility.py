"""Eligibility: which criterion loses whom, at which hospital."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finetune.page import Page
from finetune.trial.base import Tool, plain_figure
from finetune.trial.criteria import Criterion, read_criteria
from finetune.trial.patients import ScoredPatients
from finetune.trial.suppression import hidden_cells
from foundation.data import pictures
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.statistics.figure import Figure

_LEFT, _HIDDEN = "eligible", "hidden"


class Eligibility(Tool):
    """Counts patients who are lost, criterion by criterion.

    Args:
        criteria: YAML file of them; see `Criterion`.
        smallest: count of patients that is told; below it a cell is hidden, and another that would give it away.
    """

    def __init__(self, criteria: str | None = None, smallest: int = 5) -> None:
        if criteria is None:
            raise UserError("tool.criteria: give a YAML file of criteria; `consilium trial --help` names the tools")
        if smallest < 1:
            raise UserError(f"tool.smallest: found {smallest}; give a count from 1")
        self.file, self.smallest = Path(criteria), smallest

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        criteria = read_criteria(self.file)
        meets = np.stack([self._meets(criterion, scored) for criterion in criteria])
        names = [criterion.words for criterion in criteria]
        first = np.where(meets.all(axis=0), len(criteria), (~meets).argmax(axis=0))  # the criterion that loses each
        others = [np.delete(meets, place, axis=0).all(axis=0) for place in range(len(names))]
        alone = [int((~one & rest).sum()) for one, rest in zip(meets, others, strict=True)]
        hospitals = list(dict.fromkeys(scored.hospitals))
        counts = _by_hospital(first, np.array(scored.hospitals), hospitals, len(names) + 1)
        totals = counts.sum(axis=1)
        hidden = hidden_cells(np.column_stack([counts, totals]), self.smallest)
        left = _HIDDEN if hidden[-1, -1] else str(totals[-1])
        lead = [
            f"Eligible patients: {left} of {len(first)}, by {len(names)} criteria in the order of {self.file.name}.",
            f"Of fewer than {self.smallest} patients no number is told, nor of others that would give one away.",
        ]
        told = {
            "fail it": (~meets).sum(axis=1).tolist(),
            "lost by it alone": alone,
            "unknown": [int(scored.table[criterion.column].isna().sum()) for criterion in criteria],
        }
        words = {key: [self._told(value) for value in values] for key, values in told.items()}
        cells = np.where(hidden, _HIDDEN, np.column_stack([counts, totals]).astype(str))
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
        figures = self._figures(totals, hidden[:, -1], alone, names)
        return Page("Eligibility", lead, sections, figures, scored.first)

    def _meets(self, criterion: Criterion, scored: ScoredPatients) -> NDArray[np.bool_]:
        if criterion.column not in scored.table:
            there = ", ".join(scored.table)
            raise UserError(f"{self.file}: criterion on '{criterion.column}', which is no column; there are {there}")
        return criterion.meets(scored.table[criterion.column])

    def _told(self, count: int) -> str:
        return f"<{self.smallest}" if 0 < count < self.smallest else str(int(count))

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

    def _figures(
        self, totals: NDArray[np.int64], hidden: NDArray[np.bool_], alone: list[int], names: list[str]
    ) -> dict[str, Figure]:
        n = int(totals.sum())
        figures = {}
        for name, count, secret in zip([*names, _LEFT], totals.tolist(), hidden.tolist(), strict=True):
            text = "patients who meet all criteria" if name == _LEFT else "patients lost by this criterion first"
            reason = f"hidden: it, or another by it, is of fewer than {self.smallest} patients"
            figure = (
                Figure(None, None, None, n, {}, text, reason=reason) if secret else plain_figure(count, n, {}, text)
            )
            figures[f"eligibility/{name}"] = figure
        for name, count in zip(names, alone, strict=True):
            text = "patients lost by this criterion alone"
            reason = f"fewer than {self.smallest} patients"
            few = 0 < count < self.smallest
            figures[f"eligibility/{name}/alone"] = _figure(None if few else count, n, text, reason)
        return figures


def _figure(count: int | None, n: int, text: str, reason: str) -> Figure:
    """A count, or why it is not told."""
    return Figure(None, None, None, n, {}, text, reason=reason) if count is None else plain_figure(count, n, {}, text)


def _by_hospital(
    first: NDArray[np.int64], where: NDArray[np.str_], hospitals: list[str], rows: int
) -> NDArray[np.int64]:
    """Patients by the criterion that loses them, the last row those whom none does: `[criteria + 1, hospitals]`."""
    return np.stack([np.bincount(first[where == name], minlength=rows) for name in hospitals], axis=1)
