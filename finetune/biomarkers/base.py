"""What the parts of a page of biomarkers share."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from finetune.biomarkers.outcome import Outcome
from foundation.data.sections import Section, section
from foundation.statistics.figure import Figure
from foundation.statistics.suppression import HIDDEN, cells_in_words, hidden_cells, hidden_note, hide


@dataclass
class Part:
    """Something that a page tells.

    Attributes:
        lead: a line or two, for its head.
        sections: tables and pictures.
        figures: by identifier.
        files: whole tables, by name.
    """

    lead: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    files: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.lead + other.lead,
            self.sections + other.sections,
            self.figures | other.figures,
            self.files | other.files,
        )


def who(outcome: Outcome, smallest: int, first: str) -> Section:
    """Patients by hospital and what happened to them, small cells hidden and what would give them away.

    Args:
        outcome: of the patients.
        smallest: count below which a cell is hidden.
        first: what the page says before anything else: a run that the model builds on may have seen the patients.
    """
    hospitals = [str(name) for name in np.unique(outcome.hospitals)]
    groups = list(outcome.groups.values())
    if len(groups) > 1:
        groups.append(np.logical_or.reduce(groups))
    at = outcome.hospitals[None] == np.array(hospitals)[:, None]
    counts = np.stack([(at & inside).sum(axis=1) for inside in groups], axis=1).astype(np.int64)
    if len(groups) > 1:
        hidden = hidden_cells(counts, smallest)
    else:  # of one column alone no row has a total that is told, only the column
        shown = hide(dict(zip(hospitals, counts[:, 0].tolist(), strict=True)), [set(hospitals)], smallest)
        hidden = np.array([[shown.get(name) is None] for name in hospitals])
    totals = counts.sum(axis=0)
    cells = cells_in_words(counts, hidden)
    cells = np.vstack([cells, [HIDDEN if 0 < total < smallest else str(total) for total in totals]])
    columns = [*outcome.groups, *(["all"] if len(outcome.groups) > 1 else [])]
    table = pd.DataFrame(cells, index=[*hospitals, "all hospitals"], columns=columns)
    unseen = first or "None of them has been seen by the model."
    return section("Whose patients", [table], note=f"{unseen} {hidden_note(smallest)}")


def number(value: float, digits: int = 3) -> str:
    """A number in a table; a dash where it is not defined."""
    return "–" if not np.isfinite(value) else f"{value:.{digits}f}"


def chance(value: float) -> str:
    """A p or q in a table."""
    return "–" if not np.isfinite(value) else f"{value:.2g}"
