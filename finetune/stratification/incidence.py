"""How groups of patients fare where an event of one cause hides those of others: incidence instead of survival."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Drawing

from finetune.stratification.comparison import Comparison
from finetune.stratification.pictures import COLOURS
from finetune.trial.pictures import plain
from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import walk
from foundation.statistics.competing import CauseTable
from foundation.statistics.figure import Figure
from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats

_KIND = "competing risks"
_QUANTILE = 1.959963984540054


@dataclass(frozen=True)
class Cause:
    """The cause that a model of competing risks was asked for.

    Attributes:
        name: of the cause.
        place: of it among the model's causes, from 1, as the column numbers them.
        column: of what ended follow-up.
        time: column of days.
    """

    name: str
    place: int
    column: str
    time: str

    def kinds(self, values: Floats) -> Floats:
        """0 where censored, 1 for this cause, 2 for another."""
        return np.where(values == 0, 0.0, np.where(values == self.place, 1.0, 2.0))


def cause_of(run: Path, output: str | None) -> Cause | None:
    """The cause whose risk the scores of a run are; None where its model knows one kind of event.

    Args:
        run: output folder of an evaluation.
        output: of the model, that is the score.

    Raises:
        UserError: if the output tells no cause.
    """
    for folder, _, _ in walk(run):
        if not (folder / "task.json").is_file():
            continue
        task = read_json(folder / "task.json", "run python -m finetune again", "kind", "head")
        if task["kind"] != _KIND:
            return None
        head = task["head"]["settings"]
        names = [str(name) for name in head["causes"]]
        # One cause's name may begin as another's: "death" and "death by cancer".
        name = max((name for name in names if str(output).startswith(f"{name} by ")), key=len, default=None)
        if name is None:
            raise UserError(f"prediction: found {output!r}; name the score of one of the causes {', '.join(names)}")
        return Cause(name, names.index(name) + 1, str(head["cause"]), str(head["time"]))
    return None


@dataclass(frozen=True)
class Incidence:
    """Cumulative incidence of a cause in each group, by Aalen and Johansen, which hospitals' tables give when added.

    Attributes:
        table: patients by what ended their follow-up, time and group.
        cause: its name.
        names: of the groups.
        least: patients at risk that a group must have at a horizon.
    """

    table: CauseTable
    cause: str
    names: tuple[str, ...]
    least: int = 5

    @classmethod
    def of(cls, kind: Floats, time: Floats, group: Floats, cause: str, names: tuple[str, ...]) -> "Incidence":
        """Of kinds (see `Cause`), days and groups, `[patients]` each."""
        groups = Grid(np.arange(len(names), dtype=np.float64))
        return cls(CauseTable.from_patients(kind, time, group, Grid.exact(time), groups), cause, names)

    def figures(self, horizons: list[float]) -> dict[str, Figure]:
        """Incidence of each group at each horizon."""
        return {
            f"incidence/{days:g}_days/{name}": self._at(days, place)
            for days in horizons
            for place, name in enumerate(self.names)
        }

    def _at(self, days: float, place: int) -> Figure:
        group = self.table.group(place)
        counts = group.counts[0].sum(axis=(1, 2))
        outcomes = {"events": int(counts[1]), "other causes": int(counts[2]), "censored": int(counts[0])}
        what = f"cumulative incidence of {self.cause}, Aalen–Johansen, at {days:g} days"
        facts = (int(counts.sum()), outcomes, what)
        cell = group.times.up_to(days)
        followed = int(group.counts[0, :, cell:].sum())
        if followed < self.least:
            reason = f"{followed} patients of the group followed beyond {days:g} days, of {self.least} that it takes"
            return Figure(None, None, None, *facts, reason=reason)
        value = float(group.incidence_at(days)[0])
        error = 0.0 if cell == 0 else math.sqrt(float(group.incidence_variance()[0, cell - 1]))
        low, high = max(0.0, value - _QUANTILE * error), min(1.0, value + _QUANTILE * error)
        return Figure(value, low, high, *facts, "95 %, normal")


def curves(incidence: Incidence, comparison: Comparison) -> Drawing:
    """Incidence by group with pointwise 95 % intervals; groups are of those of the comparison, with their sizes."""
    figure = Drawing(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    names = incidence.names
    colours = [COLOURS[0], COLOURS[2], COLOURS[6]] if len(names) == 3 else COLOURS
    for place, name in enumerate(names):
        group = incidence.table.group(place)
        value, variance = group.incidence()[0], group.incidence_variance()[0]
        there = ~np.isnan(value)
        days = np.concatenate([[0.0], group.times.values[there]])
        value = np.concatenate([[0.0], value[there]])
        error = _QUANTILE * np.sqrt(np.concatenate([[0.0], variance[there]]))
        colour = colours[place % len(colours)]
        label = f"{name} ({sum(comparison.sizes[place].values())})"
        axes.step(days, value, where="post", color=colour, label=label)
        low, high = (np.clip(value + sign * error, 0, 1) for sign in (-1, 1))
        axes.fill_between(days, low, high, step="post", color=colour, alpha=0.15)
    axes.set(ylim=(0, 1.02), xlabel="days", ylabel=f"incidence of {incidence.cause}")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure
