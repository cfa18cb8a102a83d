"""Mutations and copy number of a hospital."""

from pathlib import Path

import numpy as np

from foundation.data.genes import GeneVocabulary
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.table_files import as_text
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import GeneTable, read_matrix
from foundation.modalities.genomics.maf import is_maf, read_maf
from foundation.modalities.genomics.symbols import by_symbol

_LEVELS = [-2, -1.5, -1, 0, 1, 2]  # GISTIC's, and the one between that cBioPortal allows
_UNKNOWN = {"na", "n/a", "nan", "null", "none", "unknown", "-", ".", "?", "[not available]"}


def read_mutations(
    path: Path, source: GeneSource, vocabulary: GeneVocabulary, landmarks: Landmarks | None = None
) -> GeneTable:
    """1 where the protein is changed, 0 where that was looked for and not found, NaN where it was not looked for.

    From a MAF (in which a gene that it never names was looked for nowhere), a table of 0 and 1, or one of calls, whose
    words for wild type and not sequenced are declared.

    Raises:
        DataError: if the file cannot be used.
    """
    if is_maf(path, source):
        read = read_maf(path, source)
        if landmarks is not None and not source.timeless:
            notes_of = Problems()
            landmarks.note_undated(path, "variants", notes_of)
            read.notes.extend(notes_of.listed)
    elif source.wild_type:
        read = _calls(read_matrix(path, source, vocabulary, True, landmarks), path, source)
    else:
        read = read_matrix(path, source, vocabulary, landmarks=landmarks)
        cells = read.values
        wrong = cells.notna() & ~cells.isin([0, 1])
        if wrong.any(axis=None):
            patient, gene = wrong.stack().idxmax()
            advice = "write 0 or 1, or declare the words for wild type and missing"
            raise refuse(path, f"patient {patient} is neither 0 nor 1", advice, gene, value=cells.at[patient, gene])
    values, notes = by_symbol(read.values, vocabulary, path, lambda columns: columns.max(axis=1))
    return GeneTable(values, read.notes + notes, read.steps)


def read_copy_number(
    path: Path, source: GeneSource, vocabulary: GeneVocabulary, landmarks: Landmarks | None = None
) -> GeneTable:
    """Copies by gene, -2 (deep loss) to 2 (high gain), or log2 ratios where the source's unit says so.

    Raises:
        DataError: if the file cannot be used, or a value is no such number.
    """
    unit = source.unit or "copies"
    if unit not in ("copies", "log2_ratio"):
        raise refuse(path, f"no unit '{unit}'", "give copies (-2 to 2) or log2_ratio", field="unit")
    read = read_matrix(path, source, vocabulary, landmarks=landmarks)
    cells = read.values
    levels = cells.isin(_LEVELS) if unit == "copies" else cells.abs() <= 15
    wrong = cells.notna() & ~levels
    if wrong.any(axis=None):
        patient, gene = wrong.stack().idxmax()
        finding = f"patient {patient} is no {'whole number from -2 to 2' if unit == 'copies' else 'log2 ratio'}"
        raise refuse(path, finding, "check the unit declared in cohort.yaml", gene, value=cells.at[patient, gene])
    values, notes = by_symbol(cells, vocabulary, path)
    return GeneTable(values, read.notes + notes, read.steps)


def _calls(read: GeneTable, path: Path, source: GeneSource) -> GeneTable:
    """1 for every word that is neither wild type nor missing.

    Raises:
        DataError: if a word that everywhere means unknown is declared as neither.
    """
    words = read.values.apply(as_text)
    declared = {*source.wild_type, *source.missing}
    for gene in words.columns:
        unknown = words[gene].map(lambda word: word.casefold() in _UNKNOWN and word not in declared, na_action="ignore")
        if unknown.eq(True).any():
            value = words[gene][unknown.eq(True)].iloc[0]
            advice = f"say missing: ['{value}'] if it means not looked for, or wild_type: ['{value}']"
            raise refuse(path, "no variant by its name", advice, field=str(gene), value=value)
    mutated = (~words.isin(source.wild_type)).astype(np.float32)
    return GeneTable(mutated.where(words.notna() & ~words.isin(source.missing)), read.notes, read.steps)
