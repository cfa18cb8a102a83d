"""Tables of genes as hospitals have them, brought to one row a patient and one column a gene."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.dictionary import is_outcome
from foundation.data.genes import GeneVocabulary, Resolution
from foundation.data.problems import Problem, Problems, refuse
from foundation.data.table_files import KEY, as_text, read_frame
from foundation.data.tables import nearest, with_group
from foundation.modalities.genomics.gene_source import GeneSource

_NAMED = 5  # gene names that a finding shows
Merge = Callable[[pd.DataFrame], "pd.Series[float]"]


@dataclass(frozen=True)
class GeneTable:
    """One channel of a hospital.

    Attributes:
        values: `[patients, symbols]` float32, symbols sorted, NaN where not measured.
        notes: what was found about names and values, errors and warnings.
    """

    values: pd.DataFrame
    notes: list[Problem]


def read_matrix(path: Path, source: GeneSource, text: bool = False) -> pd.DataFrame:
    """A table's cells, `[patients, names]`, names as the file has them.

    Args:
        path: of the table.
        source: its declaration.
        text: whether cells are words.

    Raises:
        DataError: on a missing key, a patient twice, text or infinity where numbers belong, or an outcome's column.
    """
    key = source.key or KEY
    frame = read_frame(path, {key})
    if key not in frame:
        advice = nearest(key, map(str, frame.columns), "declare the key column under sources")
        raise refuse(path, "no such column", advice, field=key)
    names = as_text(frame[key])
    if names.isna().any():
        raise refuse(path, "empty", "fill the cell, or drop the row", field=key, row=int(names.isna().idxmax()))
    if source.genes_in == "rows":
        repeated = names.groupby(names).cumcount()  # duplicates of a gene are resolved with the other names
        frame = frame.drop(columns=key).set_axis(names + repeated.map(lambda n: f"|{n}" if n else ""), axis=0).T
        names = frame.index.to_series().astype("string")
    else:
        frame = frame.drop(columns=key)
    cells = frame.set_axis(patients_of(path, names, source, key), axis=0)
    cells = cells[[column for column in cells.columns if str(column).endswith(source.suffix)]]
    cells = cells.rename(columns=lambda name: str(name).removesuffix(source.suffix))
    outcome = next((name for name in cells.columns if is_outcome(name)), None)
    if outcome is not None and not source.suffix:
        raise refuse(path, "holds an outcome", "remove the column; it must not be an input", field=outcome)
    return cells if text else as_numbers(cells, path)


def patients_of(path: Path, names: "pd.Series[str]", source: GeneSource, key: str) -> "pd.Index[str]":
    """Each row's patient.

    Raises:
        DataError: if the pattern does not match, or a patient stands twice.
    """
    patient = names if source.key_pattern is None else names.str.extract(with_group(source.key_pattern), expand=False)
    if patient.isna().any():
        finding = f"key_pattern {source.key_pattern} does not match"
        raise refuse(path, finding, "mend the name or the pattern", field=key, value=names[patient.isna()].iloc[0])
    twice = patient.duplicated()
    if twice.any():
        raise refuse(path, "patient stands twice", "keep one row a patient", field=key, value=patient[twice].iloc[0])
    return pd.Index(patient.to_numpy(dtype=object), name=KEY)


def as_numbers(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The cells as float32; missing stay NaN.

    Raises:
        DataError: naming the first cell that is text or infinite.
    """
    for name in cells.select_dtypes(exclude="number").columns:
        wrong = pd.to_numeric(cells[name], errors="coerce").isna() & cells[name].notna()
        if wrong.any():
            finding = f"text where numbers belong, patient {cells.index[wrong][0]}"
            raise refuse(path, finding, "leave unknown cells empty", field=name, value=cells[name][wrong].iloc[0])
    text = cells.select_dtypes(exclude="number").columns
    values = cells.assign(**{name: pd.to_numeric(cells[name]) for name in text}).astype(np.float32)
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        finding = f"infinite at patient {cells.index[row]}"
        raise refuse(path, finding, "leave unknown cells empty", field=str(cells.columns[column]))
    return values


def by_symbol(
    cells: pd.DataFrame, vocabulary: GeneVocabulary, path: Path, merge: Merge | None = None
) -> tuple[pd.DataFrame, list[Problem]]:
    """Columns under their approved symbols, sorted; whatever names could not be used is noted.

    Args:
        cells: `[patients, names]`.
        vocabulary: knows the symbols.
        path: where the cells were read.
        merge: makes one column of several that mean one gene; by default the one named by the approved symbol stays,
            else the one with fewest missing.

    Raises:
        DataError: if no name is a gene's.
    """
    bare = {column: re.sub(r"\|\d$", "", str(column)) for column in cells.columns}
    resolution = vocabulary.resolve(bare.values())
    if not resolution.symbol:
        some = ", ".join(map(str, cells.columns[:_NAMED]))
        raise refuse(path, f"no column is a gene of {vocabulary.version}: {some}", "name genes by symbol or Ensembl id")
    columns: dict[str, list[str]] = {}
    for column, name in sorted(bare.items()):
        if name in resolution.symbol:
            columns.setdefault(resolution.symbol[name], []).append(column)
    one = {symbol: names[0] for symbol, names in columns.items() if len(names) == 1}
    several = {symbol: names for symbol, names in columns.items() if len(names) > 1}
    made = {symbol: (merge or _best(symbol))(cells[names]) for symbol, names in several.items()}
    kept = cells[list(one.values())].set_axis(list(one), axis=1)
    values = pd.concat([kept, pd.DataFrame(made, index=cells.index)], axis=1)
    return values[sorted(values.columns)].astype(np.float32), _notes(resolution, vocabulary, path, merge is not None)


def _best(symbol: str) -> Merge:
    def best(columns: pd.DataFrame) -> "pd.Series[float]":
        return columns[symbol] if symbol in columns else columns[columns.isna().sum().idxmin()]

    return best


def _notes(resolution: Resolution, vocabulary: GeneVocabulary, path: Path, merged: bool) -> list[Problem]:
    problems = Problems()
    aliases = sorted(f"{name} is {resolution.symbol[name]}" for name in resolution.renamed)
    duplicates = sorted(f"{' and '.join(names)} are {symbol}" for symbol, names in resolution.duplicates.items())
    ambiguous = sorted(f"{name} may be {' or '.join(symbols)}" for name, symbols in resolution.ambiguous.items())
    how = "put together" if merged else "the approved symbol's column is kept, else the fullest"
    for names, message, advice in (
        (aliases, "older names or aliases, read under the approved symbol", "none needed"),
        (duplicates, f"genes that stand several times: {how}", "check that this is meant"),
        (ambiguous, "names that mean several genes, left out", "name them by approved symbol"),
        (resolution.damaged, "names that a spreadsheet made dates of", "export the names again as text"),
        (
            resolution.unknown,
            f"names of no gene of {vocabulary.version}, left out",
            "name them by symbol or Ensembl id",
        ),
    ):
        if names:
            more = ", ..." if len(names) > _NAMED else ""
            problems.warn(path, f"{len(names)} {message}: {', '.join(names[:_NAMED])}{more}", advice, field="gene")
    return problems.listed
