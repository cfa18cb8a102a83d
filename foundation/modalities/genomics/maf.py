"""Mutation Annotation Format: a row a variant, by whatever name the file goes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.columns import nearest
from foundation.data.problems import Problems, refuse
from foundation.data.samples import choose
from foundation.data.strict import with_group
from foundation.data.table_files import KEY, read_bytes
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import GeneTable
from foundation.modalities.genomics.sample_choice import owners

GENE, CLASS, SAMPLE = COLUMNS = ("Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode")
# Classes that change the protein; the others only show that the patient was sequenced.
# https://docs.gdc.cancer.gov/Data/File_Formats/MAF_Format/
CHANGES_PROTEIN = {
    "Frame_Shift_Del",
    "Frame_Shift_Ins",
    "In_Frame_Del",
    "In_Frame_Ins",
    "Missense_Mutation",
    "Nonsense_Mutation",
    "Nonstop_Mutation",
    "Splice_Site",
    "Translation_Start_Site",
}
_SILENT = {"Silent", "Intron", "3'UTR", "5'UTR", "3'Flank", "5'Flank", "RNA", "IGR", "Splice_Region", "lincRNA"}
# Oncotator's and Funcotator's: by the kind of change. Those of a new start of translation, of targeted regions and of
# fusions are decided by no format, and must be declared.
_OTHER_ANNOTATORS = {
    f"{what}_{kind}": 1
    for what in ("Start_Codon", "Stop_Codon", "Splice_Site")
    for kind in ("SNP", "DNP", "TNP", "ONP", "Ins", "Del")
}
CLASSES = {**dict.fromkeys(CHANGES_PROTEIN, 1), **dict.fromkeys(_SILENT, 0), **_OTHER_ANNOTATORS}
_FOLDED = {name.casefold(): value for name, value in CLASSES.items()}
_TCGA = r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"
_TEXT = (".txt", ".tsv", ".maf")
_CASE_LIST = "case_list_ids:"


def is_maf(path: Path, source: GeneSource) -> bool:
    """Whether a file is a MAF: by its declaration, its name, or its header."""
    if source.form is not None or ".maf" in path.suffixes[-2:]:
        return source.form == "maf" or source.form is None
    if path.name.lower().removesuffix(".gz").endswith(_TEXT) and path.is_file():
        lines = read_bytes(path, source.encoding).decode().splitlines()
        header = next((line for line in lines if line.strip() and not line.startswith("#")), "")
        return set(COLUMNS) <= {_bare(cell) for cell in header.split("\t")}
    return False


def read_maf(path: Path, source: GeneSource) -> GeneTable:
    """`[patients, names]`: 1 where a variant changes the protein, else 0, also for those sequenced without a variant.

    Raises:
        DataError: if a row is ragged or names no patient, or the list of those sequenced cannot be used.
    """
    if not path.is_file():
        raise refuse(path, "missing", "put it there")
    frame = _rows(path, source)
    notes = Problems()
    changed = _changed(path, frame, source, notes)
    barcode, pattern = frame[SAMPLE], _pattern(frame[SAMPLE], source)
    names = pd.Series(barcode.unique(), dtype=object)
    whose, labels = owners(names, source, path, notes, pattern)
    kept = labels.notna()
    if source.samples is not None:
        taken = choose(labels[kept], whose[kept].fillna(labels[kept]), source.samples, path, SAMPLE)
        notes.tell(path, "samples other than those chosen (samples), left out", int((~taken).sum()), SAMPLE)
        kept = kept & taken.reindex(kept.index, fill_value=False)
    rows = barcode.isin(names[kept])
    frame, changed, barcode = frame[rows], changed[rows], barcode[rows]
    patient = barcode.map(pd.Series(whose.to_numpy(), names))
    lost = patient.isna() | (patient == "")
    if lost.any():
        row = int(frame.index[lost][0])
        raise refuse(path, "names no patient", "mend it, or the pattern", SAMPLE, row=row, value=barcode[row])
    table = changed.groupby([patient, frame[GENE]]).max().unstack(fill_value=0.0).astype(np.float32)
    table.index.name, table.columns.name = KEY, None
    table = table[[name for name in table.columns if re.fullmatch(r"\S+", name) and name != "Unknown"]]
    if source.sequenced is not None:
        table = _with_sequenced(table, path, source, pattern, notes)
    return GeneTable(table, notes.listed, notes.steps)


def _rows(path: Path, source: GeneSource) -> pd.DataFrame:
    """The three columns that are read; the index is each row's number in the file."""
    lines = [line for line in read_bytes(path, source.encoding).decode().splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if not line.startswith("#")), None)
    if start is None:
        raise refuse(path, "no header", "export the MAF again")
    header = [_bare(cell) for cell in lines[start].split("\t")]
    for name in COLUMNS:
        if name not in header:
            raise refuse(path, "no such column", nearest(name, header, "export the MAF again"), field=name)
    rows = [line.split("\t") for line in lines[start + 1 :]]
    ragged = next((number for number, row in enumerate(rows) if len(row) != len(header)), None)
    if ragged is not None:
        finding = f"{len(rows[ragged])} cells where the header has {len(header)}"
        raise refuse(path, finding, "copy the file again; it may be cut off", row=start + ragged + 2)
    places = [header.index(name) for name in COLUMNS]
    cells = [[_bare(row[place]) for place in places] for row in rows]
    return pd.DataFrame(cells, pd.RangeIndex(start + 2, start + 2 + len(rows)), COLUMNS, dtype=object)


def _bare(cell: str) -> str:
    """A cell without blanks, and without the quotes that a spreadsheet puts around it."""
    bare = cell.strip()
    return bare[1:-1].replace('""', '"').strip() if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare


def _changed(path: Path, frame: pd.DataFrame, source: GeneSource, notes: Problems) -> "pd.Series[float]":
    """1 or 0 a variant; a class that nobody decides is noted once, with how often it occurs."""
    known = {**_FOLDED, **{name.casefold(): value for name, value in source.classes.items()}}
    classes = frame[CLASS].str.casefold()
    for name in frame[CLASS][~classes.isin(list(known))].drop_duplicates():
        rows = frame.index[frame[CLASS] == name]
        finding = "no class of the MAF format" + (f", in {len(rows)} rows, the first" if len(rows) > 1 else "")
        advice = f"say classes: {{'{name}': 1}} if it changes the protein, else 0, in the source's declaration"
        notes.error(path, finding, advice, field=CLASS, row=int(rows[0]), value=name)
    return classes.map(known).fillna(0).astype(np.float32)


def _pattern(barcodes: "pd.Series[str]", source: GeneSource) -> str | None:
    """The pattern of the patient in a sample's name: as declared, or TCGA's where all are its barcodes."""
    if source.key_pattern is None and len(barcodes) and barcodes.str.match(_TCGA).all():
        return _TCGA
    return source.key_pattern


def _with_sequenced(
    table: pd.DataFrame, path: Path, source: GeneSource, pattern: str | None, notes: Problems
) -> pd.DataFrame:
    """The table with a row of zeros for each patient who was sequenced and in whom nothing was looked for in vain."""
    listing = path.parent / str(source.sequenced)
    if not listing.is_file():
        raise refuse(listing, "missing", "put the list of those sequenced there", field="sequenced")
    lines = read_bytes(listing, source.encoding).decode().splitlines()
    cases = [line for line in lines if line.startswith(_CASE_LIST)]
    written = cases[0].removeprefix(_CASE_LIST).split("\t") if cases else lines
    samples = pd.Series([_bare(line) for line in written if line.strip() and not line.startswith("#")], dtype=object)
    if source.sample_sheet is not None:
        patients = owners(samples, source, path, Problems())[0].dropna()
    else:
        patients = samples if pattern is None else samples.str.extract(with_group(pattern), expand=False)
    if patients.isna().any():
        advice = "list ids of samples or patients, one a line, without a header"
        raise refuse(listing, "names no patient", advice, "sequenced", value=samples[patients.isna()].iloc[0])
    more = table.index.difference(pd.Index(patients))
    if len(more):
        finding = f"{len(more)} patients with variants are not in {listing.name}, the first"
        notes.warn(path, finding, "complete the list", field="sequenced", value=more[0])
    return table.reindex(table.index.union(pd.Index(patients.unique(), name=KEY)), fill_value=np.float32(0))
