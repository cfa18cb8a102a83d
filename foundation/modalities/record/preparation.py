"""Records from a hospital's files: the data dictionary's columns, from a table or from a FHIR export.

Usual place: `record.csv` (or another form of table).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from foundation.data import clinical_checks
from foundation.data.columns import nearest
from foundation.data.declaration import Declaration
from foundation.data.dictionary import DataDictionary, is_outcome
from foundation.data.fhir import read_fhir
from foundation.data.fhir_source import FhirSource
from foundation.data.outcome_checks import check_outcomes
from foundation.data.plain_values import plain_values
from foundation.data.preparation import Packing, Preparation
from foundation.data.problems import Problems
from foundation.data.site import Site
from foundation.data.sources import RowSource, usual_table
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.modalities.record.storage import STORAGE

_SHOWN = 5  # columns that a finding names


class RecordPreparation(Preparation):
    """Columns are checked against the dictionary and for outcomes; each patient's become JSON."""

    storage = STORAGE
    sources: ClassVar[Mapping[str, Any]] = {"record": RowSource}

    def usual(self, folder: Path, field: str) -> TableSource | None:
        file = usual_table(folder, field)
        return None if file is None else TableSource(file=file)

    def read(self, site: Site, places: Mapping[str, Any], declaration: Declaration, problems: Problems) -> None:
        if "record" in places:
            table = problems.attempt(_read, site, places["record"], declaration.dictionary, problems)
            if table is not None:
                site.tables["record"] = table

    def patients(self, site: Site) -> "pd.Index[str]":
        table = site.tables.get("record")
        return pd.Index([]) if table is None else table.index[table.notna().any(axis=1)]

    def check(self, site: Site, declaration: Declaration, problems: Problems) -> None:
        if "record" not in site.tables:
            return
        dictionary, table, file = declaration.dictionary, site.tables["record"], site.files["record"]
        outcomes = [name for name in (*dictionary.labels, *dictionary.survival.values()) if name in site.patients]
        problems.listed += clinical_checks.check_dates(table, file, *clinical_checks.date_columns(table))
        for column in dictionary.record:
            if column.name not in table:
                problems.warn(file, "no such column", "add it, or expect it unknown here", field=column.name)
        problems.listed += clinical_checks.check_record(table, dictionary.record, file)
        inputs = {column.name for column in dictionary.record}
        inputs |= {name for name in table if is_outcome(str(name))}
        kept = table[[name for name in table if name in inputs]]
        problems.listed += check_outcomes(kept, site.patients[outcomes], file)

    def pack(self, packing: Packing) -> pd.DataFrame:
        """Numbers as numbers, categories as words, unknown as null."""
        record = plain_values(packing.site.tables.get("record"), packing.dictionary.record, packing.order)
        known = record.notna().any(axis=1)
        rows = record.to_dict(orient="index")
        values = [json.dumps(rows[patient]) if some else "{}" for patient, some in known.items()]
        return pd.DataFrame({"record": known, "record_values": values}, packing.order)


PREPARATION = RecordPreparation()


def _read(site: Site, source: TableSource | FhirSource, dictionary: DataDictionary, problems: Problems) -> pd.DataFrame:
    if isinstance(source, FhirSource):
        site.files["record"] = site.folder / source.files
        return read_fhir(site.folder, source, problems, site.landmarks)
    site.files["record"] = site.folder / source.file
    words = {column.name: column.values for column in dictionary.record if column.kind == "categorical"}
    numbers = [column.name for column in dictionary.record if column.kind == "continuous"]
    source = source.read_for("inputs")
    declared = source.columns
    kinds = Kinds(numbers=numbers, measured=numbers, words=words)
    table = read_source(site.folder, source, kinds=kinds, problems=problems, landmarks=site.landmarks)
    _tell_unread(table, dictionary, declared is not None, site.files["record"], problems)
    return table


def _tell_unread(
    table: pd.DataFrame, dictionary: DataDictionary, declared: bool, path: Path, problems: Problems
) -> None:
    """Columns that are no input, for the dictionary does not name them."""
    known = [column.name for column in dictionary.record]
    unnamed = [str(name) for name in table if name not in known and not is_outcome(str(name))]
    if unnamed and known and not declared:
        more = ", ..." if len(unnamed) > _SHOWN else ""
        finding = (
            f"{len(unnamed)} columns that the dictionary does not name are not read: {', '.join(unnamed[:_SHOWN])}"
        )
        problems.warn(path, finding + more, "name under dictionary.record those that are inputs", field="record")
    for name in (name for name in table if name not in known):
        cells = int(table[name].notna().sum())
        problems.tell(path, "a column that the dictionary does not name, not read; its cells", cells, str(name))
        if declared and known:
            advice = nearest(str(name), known, "name it under dictionary.record, or take it out of the columns")
            problems.warn(path, "is declared, and the dictionary does not name it: not read", advice, field=str(name))
