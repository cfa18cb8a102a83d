"""Tables of genes as hospitals have them, brought to one row a patient and one column a gene."""

from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data.columns import nearest
from foundation.data.dictionary import is_outcome
from foundation.data.genes import GeneVocabulary
from foundation.data.landmarks import Landmarks
from foundation.data.numbers import numbers
from foundation.data.problems import Problem, Problems, Step, refuse
from foundation.data.table_files import COUNTER, KEY, FileTable, Reading, as_text, read_frame
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.sample_choice import SampleChoice

_STAR = "tpm_unstranded"  # of the Genomic Data Commons' files of one sample
_NAMED = 5  # gene names that a finding shows


@dataclass(frozen=True)
class GeneTable:
    """One channel of a hospital.

    Attributes:
        values: `[patients, symbols]` float32, symbols sorted, NaN where not measured.
        notes: what was found about names and values, errors and warnings.
        steps: what was left out by rule.
    """

    values: pd.DataFrame
    notes: list[Problem]
    steps: list[Step] = field(default_factory=list)


def read_matrix(
    path: Path,
    source: GeneSource,
    vocabulary: GeneVocabulary,
    text: bool = False,
    landmarks: Landmarks | None = None,
) -> GeneTable:
    """The cells of a table, or of a file a patient where the source's `value` says so; see `_one_matrix`.

    Raises:
        DataError: if a file cannot be used, or two are of one patient.
    """
    if source.value is None:
        return _one_matrix(path, source, vocabulary, text, landmarks)
    paths = [Path(name) for name in sorted(glob(str(path), recursive=True))]
    if not paths:
        raise refuse(path, "no such file", "put the files there, or mend `file` in the declaration")
    notes = Problems()
    names = pd.Series([_name_of_file(one, source) for one in paths], dtype=object)
    kept, patients = SampleChoice(path, source, "file", landmarks, notes).of(names)
    chosen = [one for one, is_kept in zip(paths, kept, strict=True) if is_kept]
    tables = [
        _one_matrix(one, source, vocabulary, text, landmarks, patient)
        for one, patient in zip(chosen, patients, strict=True)
    ]
    if not tables:
        raise refuse(path, "no file is of a sample that is kept", "mend samples, or where of sample_sheet", "file")
    listed = dict.fromkeys(replace(note, file=str(path)) for table in tables for note in table.notes)
    return GeneTable(pd.concat([table.values for table in tables]), [*notes.listed, *listed], notes.steps)


def _one_matrix(
    path: Path,
    source: GeneSource,
    vocabulary: GeneVocabulary,
    text: bool,
    landmarks: Landmarks | None,
    patient: str | None = None,
) -> GeneTable:
    """A table's cells, `[patients, names]`, names as the file has them, and what was left out.

    Args:
        path: of the table.
        source: its declaration.
        vocabulary: tells genes from columns that describe a patient.
        text: whether cells are words.
        landmarks: rows dated after them are left out.
        patient: whose the file is, where it holds one.

    Raises:
        DataError: on a missing key, a patient twice, text or infinity where numbers belong, or an outcome's column.
    """
    notes = Problems()
    key = source.key or (KEY if source.genes_in == "columns" else None)
    table = read_frame(path, source, Reading(() if key is None else (key,), numbers=not text))
    if table.comments:
        finding = f"{len(table.comments)} lines above the header are left out, the first"
        notes.warn(path, finding, "nothing to do, unless they hold data", value=table.comments[0])
    key = key or table.names[0]
    if key not in table.names:
        advice = nearest(key, table.names, "declare the key column under sources")
        raise refuse(path, "no such column", advice, field=key)
    if _STAR in table.names and source.value is None:
        advice = f"say form: gdc_star, or value: {_STAR}; the file's name says whose it is"
        raise refuse(path, "holds one patient, in columns of several kinds of values", advice, field=_STAR)
    if table.counter:
        notes.tell(path, COUNTER, len(table.frame))
    chosen = SampleChoice(path, source, key, landmarks, notes)
    if source.genes_in == "rows":
        cells = _from_rows(path, table, source, key, text, chosen, notes, patient)
    else:
        cells = _from_columns(path, table, source, key, text, vocabulary, chosen, notes)
    cells = cells[[column for column in cells.columns if str(column).endswith(source.suffix)]]
    cells = cells.rename(columns=lambda name: str(name).removesuffix(source.suffix))
    outcome = next((name for name in cells.columns if is_outcome(name)), None)
    if outcome is not None and not source.suffix:
        raise refuse(path, "holds an outcome", "remove the column; it must not be an input", field=outcome)
    return GeneTable(chosen.once(cells), notes.listed, notes.steps)


def _from_columns(
    path: Path,
    table: FileTable,
    source: GeneSource,
    key: str,
    text: bool,
    vocabulary: GeneVocabulary,
    chosen: SampleChoice,
    notes: Problems,
) -> pd.DataFrame:
    names = as_text(table.frame[key])
    if names.isna().any():
        raise refuse(path, "empty", "fill the cell, or drop the row", field=key, row=int(names.isna().idxmax()))
    kept, patients = chosen.of(names, table.frame)
    cells = table.frame[kept].drop(columns=[key, *{*source.annotation, source.date} & {*table.names}])
    cells = cells.set_axis(patients, axis=0)
    cells = cells[[name for name in cells.columns if str(name).endswith(source.suffix)]]
    if text:
        return cells
    words = cells.columns[[cells[name].dtype == object for name in cells.columns]]
    genes = vocabulary.resolve(str(name).removesuffix(source.suffix) for name in words)
    known = {*genes.symbol, *genes.ambiguous, *genes.damaged}
    described = [name for name in words if str(name).removesuffix(source.suffix) not in known and not is_outcome(name)]
    described = [name for name in described if _text_cells(cells[name], source).any()]
    left_out(path, described, notes)
    return as_numbers(cells.drop(columns=described), path, source, "patient")


def _from_rows(
    path: Path,
    table: FileTable,
    source: GeneSource,
    key: str,
    text: bool,
    chosen: SampleChoice,
    notes: Problems,
    patient: str | None,
) -> pd.DataFrame:
    frame, names = table.frame, as_text(table.frame[key])
    blank = names.isna()
    if blank.any():
        finding = f"{int(blank.sum())} rows without a gene's name are left out, the first"
        notes.warn(path, finding, "name the genes there, if they count", field=key, row=int(blank.idxmax()))
        frame, names = frame[~blank], names[~blank]
    described = [name for name in table.names if name in table.annotations or name.casefold() in _DESCRIBE_GENES]
    described = [name for name in described if name not in (key, source.value, *source.annotation)]
    samples = [name for name in frame.columns if name not in (key, *described, *source.annotation)]
    if source.value is not None:
        _require_value(path, table.names, source.value)
        described, samples = [], [source.value]
    left_out(path, described, notes)
    repeated = names.groupby(names).cumcount()  # duplicates of a gene are resolved with the other names
    labels = (names + repeated.map(lambda n: f"|{n}" if n else "")).to_numpy(dtype=object)
    cells = frame[samples].set_axis(pd.Index(labels), axis=0)
    if patient is None:
        kept, patients = chosen.of(pd.Series(samples, dtype=object))
        cells = cells.loc[:, kept.to_numpy()]
    else:
        patients = pd.Index([patient], name=KEY)
    cells = cells if text else as_numbers(cells, path, source, "gene")
    return cells.T.set_axis(patients, axis=0)


# Columns by which portals and pipelines describe the gene of a row.
_DESCRIBE_GENES = {
    *("entrez_gene_id", "entrez_id", "entrezid", "entrez", "gene id", "gene_id", "geneid", "ensembl_id", "ensembl"),
    *("hugo_symbol", "gene_symbol", "gene symbol", "symbol", "gene_name", "gene name", "description", "gene_type"),
    *("chr", "chrom", "chromosome", "start", "end", "strand", "length", "cytoband", "locus id", "biotype"),
    *("gene_biotype", "id_ref", "composite.element.ref", "name", "hgnc_id", "accession"),
}


def left_out(path: Path, columns: list[str], notes: Problems) -> None:
    """Notes columns that describe genes or patients and are left out."""
    if columns:
        more = ", ..." if len(columns) > _NAMED else ""
        finding = (
            f"{len(columns)} columns that hold no values of genes are left out: {', '.join(columns[:_NAMED])}{more}"
        )
        notes.warn(path, finding, "nothing to do; annotation names such columns", field="annotation")


def _require_value(path: Path, names: list[str], value: str) -> None:
    if value not in names:
        advice = nearest(value, names, "declare the column that holds the values")
        raise refuse(path, "no such column", advice, field=value)


def _name_of_file(path: Path, source: GeneSource) -> str:
    """What names the sample of a file; `key_pattern` is looked for in it, with the folders that a glob names."""
    if source.sample_sheet is not None:
        return path.name
    if source.key_pattern is None:
        return path.name.partition(".")[0]
    return "/".join(path.parts[-len(Path(source.file).parts) :])


def as_numbers(cells: pd.DataFrame, path: Path, source: GeneSource, of: str) -> pd.DataFrame:
    """The cells as float32; missing stay NaN.

    Args:
        cells: `[patients, names]` or `[genes, samples]`.
        path: where they were read.
        source: its declaration.
        of: what a row is, for messages.

    Raises:
        DataError: naming the first cell that is text or infinite.
    """
    coded = pd.to_numeric(pd.Series(source.missing, dtype=object), errors="coerce").dropna()
    values = cells.mask(cells.isin(coded.tolist())) if len(coded) else cells.copy()
    for place, kind in enumerate(cells.dtypes):
        if pd.api.types.is_numeric_dtype(kind):
            continue
        column = cells.iloc[:, place]
        wrong = _text_cells(column, source)
        if wrong.any():
            value = column[wrong.to_numpy()].iloc[0]
            finding = f"text where numbers belong, {of} {column.index[wrong.to_numpy()][0]}"
            advice = f"leave unknown cells empty, or say missing: ['{value}'] if it means unknown"
            if wrong.sum() == column.notna().sum():
                advice = f"name it under annotation if it holds no {'samples' if of == 'gene' else 'gene'}, or mend it"
            raise refuse(path, finding, advice, field=str(column.name), value=value)
        values.isetitem(place, _number_cells(column, source))
    values = values.astype(np.float32)
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        row, column_place = np.argwhere(infinite)[0]
        finding = f"infinite at {of} {cells.index[row]}"
        raise refuse(path, finding, "leave unknown cells empty", field=str(cells.columns[column_place]))
    return values


def _number_cells(cells: "pd.Series[Any]", source: GeneSource) -> "pd.Series[float]":
    known = cells.mask(as_text(cells).isin(source.missing) | as_text(cells).isna())
    return numbers(known.where(known.notna(), None), source.decimal_sign, source.thousands).astype(float)


def _text_cells(cells: "pd.Series[Any]", source: GeneSource) -> "pd.Series[bool]":
    words = as_text(cells)
    return _number_cells(cells, source).isna() & words.notna() & ~words.isin(source.missing)
