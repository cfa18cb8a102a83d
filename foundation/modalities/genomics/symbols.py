"""Columns of a table of genes under their approved symbols."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.genes import GeneVocabulary, Resolution
from foundation.data.problems import Problem, Problems, refuse

_NAMED = 5  # gene names that a finding shows
Merge = Callable[[pd.DataFrame], "pd.Series[float]"]


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
