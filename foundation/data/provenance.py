"""What was done to data on their way into a cohort: cells, rows and files, by rule, each with a count."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundation.data.columns import ColumnSource, codes
from foundation.data.numbers import is_bound
from foundation.data.problems import Problems, Step
from foundation.data.table_files import as_text

if TYPE_CHECKING:
    from foundation.data.site import Site

_NAMED = 4  # words of one rule


def tell_column(
    problems: Problems,
    path: Path,
    name: str,
    column: ColumnSource,
    words: Sequence[str],
    written: "pd.Series[Any]",
    read: "pd.Series[Any]",
) -> None:
    """What became of a column's cells.

    Args:
        problems: takes the steps.
        path: of the table.
        name: that the column gets.
        column: its declaration.
        words: that mean unknown in the whole table.
        written: its cells in the file.
        read: the same, as declared.
    """
    field, cells = column.source or name, as_text(written)
    declared = {*column.missing, *words}
    lost = codes(written)[cells.notna() & read.isna()]
    unknown = lost[lost.isin(list(declared))]
    problems.tell(path, f"read as missing: {_most(unknown)}", len(unknown), field)
    if column.nonpositive_missing:
        problems.tell(path, "zero or below, read as missing", len(lost) - len(unknown), field)
    if column.values is not None:
        problems.tell(path, "translated by values", int((codes(written).isin(list(column.values))).sum()), field)
    if column.bounds is not None:
        rule = column.bounds if isinstance(column.bounds, str) else "as declared"
        problems.tell(path, f"beyond a limit, read by bounds: {rule}", int(cells.map(is_bound).sum()), field)
    if column.date is not None:
        ways = column.date if isinstance(column.date, str) else " or ".join(column.date)
        problems.tell(path, f"dates read as {ways}", int(read.notna().sum()), field)
    if (column.scale, column.offset) != (1.0, 0.0):
        shift = f" + {column.offset:g}" if column.offset else ""
        problems.tell(path, f"converted: cell * {column.scale:g}{shift}", int(read.notna().sum()), field)
    if column.or_else is not None:
        said = int((cells.isna() | codes(written).isin(list(declared))).sum() - read.isna().sum())
        problems.tell(path, f"taken from {column.or_else.source or name} instead", said, field)


def _most(words: "pd.Series[str]") -> str:
    counts = Counter(words).most_common()
    named = ", ".join(f"'{word}' ({count})" for word, count in counts[:_NAMED])
    return named + (", ..." if len(counts) > _NAMED else "")


def flow(
    sites: "list[Site]", steps: Sequence[Step], outcomes: Sequence[str], who: pd.DataFrame
) -> list[dict[str, Any]]:
    """The patients' way into the cohort, in order: how many are left after each step, all hospitals together.

    Args:
        sites: as read.
        steps: that were told.
        outcomes: labels and survival.
        who: bool `[patients, modalities]`.
    """
    files = {str(site.files["patients"]) for site in sites}
    lost = [step for step in steps if step.file in files and step.rows]
    patients = sum(len(site.patients) for site in sites)
    left = patients + sum(step.count for step in lost)
    ways = [{"step": "rows of the patients' tables", "patients": left}]
    for step in lost:
        left -= step.count
        ways.append({"step": f"without {step.rule}", "patients": left})
    ways.append({"step": "patients of the cohort", "patients": patients})
    ways.append({"step": "with any modality", "patients": int(who.any(axis=1).sum())})
    everybody = pd.concat([site.patients for site in sites]) if sites else pd.DataFrame()
    for name in outcomes:
        known = int(everybody[name].notna().sum()) if name in everybody else 0
        ways.append({"step": f"with {name} known", "patients": known})
    return ways


def by_rule(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps of all files together: where files lay at the hospitals stays there."""
    counts: Counter[tuple[str, str]] = Counter()
    for step in steps:
        counts[step.field, step.rule] += step.count
    return [{"field": field, "rule": rule, "count": count} for (field, rule), count in counts.items()]
