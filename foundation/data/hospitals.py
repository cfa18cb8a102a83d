"""Hospitals that a column names: one folder of files, divided by patient."""

import re
from pathlib import Path

import pandas as pd

from foundation.data.declaration import HospitalColumn
from foundation.data.problems import refuse
from foundation.data.strict import with_group
from foundation.data.table_files import as_text
from foundation.data.tables import Kinds, read_source


def by_column(
    folder: Path, patients: pd.DataFrame, hospitals: HospitalColumn, path: Path
) -> dict[str, "pd.Index[str]"]:
    """Patients by hospital, the largest first, those pooled last.

    Args:
        folder: of all files.
        patients: indexed by patient.
        hospitals: how they are named.
        path: of the patients' table, for messages.

    Raises:
        DataError: if the column is missing, or a patient has no hospital.
    """
    column = "patient_id" if hospitals.column is None else hospitals.column
    if hospitals.column is not None and column not in patients:
        raise refuse(path, "no such column", "name the one that says the hospital, under hospitals", field=column)
    cells = patients.index.to_series() if hospitals.column is None else patients[column]
    named = as_text(cells).astype("string")
    if hospitals.pattern is not None:
        named = named.str.extract(with_group(hospitals.pattern), expand=False)
    if hospitals.table is not None:
        name = next(iter(hospitals.table.columns or ()))
        known = read_source(folder, hospitals.table, kinds=Kinds(text=[name]))
        named = named.map(known[name].astype("string"))
    blank = as_text(cells).isna() if hospitals.blank is not None else pd.Series(False, cells.index)
    lost = (named.isna() | (named == "")) & ~blank
    if lost.any():
        whose = f"patient {named.index[lost][0]} has no hospital"
        advice = "fill it in, mend `hospitals`, or say there blank: a name for those without"
        raise refuse(path, whose, advice, field=column, value=cells[lost].iloc[0])
    named = named.map(_called(named[~blank], hospitals, path, column)).mask(blank, hospitals.blank)
    unknown = sorted(set(hospitals.leave_out) - set(named))
    if unknown:
        raise refuse(path, "no such hospital to leave out", "mend `hospitals`", field="leave_out", value=unknown[0])
    named = named[~named.isin(hospitals.leave_out)]
    sizes = named.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    large = [str(name) for name in sizes.index if sizes[name] >= hospitals.smallest and name != hospitals.rest]
    members = {name: named.index[named == name] for name in large}
    rest = named.index[~named.isin(large)]
    return {**members, hospitals.rest: rest} if len(rest) else members


def _called(named: "pd.Series[str]", hospitals: HospitalColumn, path: Path, column: str) -> dict[str, str]:
    """Hospital as written → as it is called; two that would be called alike without a word are refused."""
    called = {name: hospitals.names.get(name, slug(name)) for name in named.unique()}
    written: dict[str, str] = {}
    for name, short in called.items():
        if name not in hospitals.names and written.setdefault(short, name) != name:
            finding = f"two hospitals, {written[short]} and {name}, would be called '{short}'"
            raise refuse(path, finding, "say under hospitals.names what each is called", field=column, value=name)
    return called


def slug(name: str) -> str:
    """A hospital's name as a folder's: `Henry Ford Hospital` → `henry_ford_hospital`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
