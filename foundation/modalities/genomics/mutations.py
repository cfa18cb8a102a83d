"""Mutations and copy number of a hospital."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import refuse
from foundation.data.table_files import as_text, read_bytes
from foundation.data.tables import nearest, with_group
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import GeneTable, by_symbol, read_matrix

_MAF = ("Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode")
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
_SILENT = {"Silent", "Intron", "3'UTR", "5'UTR", "3'Flank", "5'Flank", "RNA", "IGR", "Splice_Region"}
_TCGA = r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"


def read_mutations(path: Path, source: GeneSource, vocabulary: GeneVocabulary) -> GeneTable:
    """1 where the protein is changed, 0 where that was looked for and not found, NaN where it was not looked for.

    From a MAF (in which a gene that it never names was looked for nowhere), a table of 0 and 1, or one of calls, whose
    words for wild type and not sequenced are declared.

    Raises:
        DataError: if the file cannot be used.
    """
    if ".maf" in path.suffixes[-2:]:
        cells = _maf(path, source)
    elif source.wild_type or source.missing:
        cells = _calls(read_matrix(path, source, text=True), source)
    else:
        cells = read_matrix(path, source)
        wrong = cells.notna() & ~cells.isin([0, 1])
        if wrong.any(axis=None):
            patient, gene = wrong.stack().idxmax()
            advice = "write 0 or 1, or declare the words for wild type and missing"
            raise refuse(path, f"patient {patient} is neither 0 nor 1", advice, gene, value=cells.at[patient, gene])
    return GeneTable(*by_symbol(cells, vocabulary, path, lambda columns: columns.max(axis=1)))


def read_copy_number(path: Path, source: GeneSource, vocabulary: GeneVocabulary) -> GeneTable:
    """Copies by gene, -2 (deep loss) to 2 (high gain), or log2 ratios where the source's unit says so.

    Raises:
        DataError: if the file cannot be used, or a value is no such number.
    """
    unit = source.unit or "copies"
    if unit not in ("copies", "log2_ratio"):
        raise refuse(path, f"no unit '{unit}'", "give copies (-2 to 2) or log2_ratio", field="unit")
    cells = read_matrix(path, source)
    levels = cells.isin([-2, -1, 0, 1, 2]) if unit == "copies" else cells.abs() <= 15
    wrong = cells.notna() & ~levels
    if wrong.any(axis=None):
        patient, gene = wrong.stack().idxmax()
        finding = f"patient {patient} is no {'whole number from -2 to 2' if unit == 'copies' else 'log2 ratio'}"
        raise refuse(path, finding, "check the unit declared in cohort.yaml", gene, value=cells.at[patient, gene])
    return GeneTable(*by_symbol(cells, vocabulary, path))


def _calls(cells: pd.DataFrame, source: GeneSource) -> pd.DataFrame:
    words = cells.apply(as_text)
    mutated = (~words.isin(source.wild_type)).astype(np.float32)
    return mutated.where(words.notna() & ~words.isin(source.missing))


def _maf(path: Path, source: GeneSource) -> pd.DataFrame:
    if not path.is_file():
        raise refuse(path, "missing", "put it there")
    lines = [line for line in read_bytes(path).decode().splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if not line.startswith("#")), None)
    if start is None:
        raise refuse(path, "no header", "export the MAF again")
    header = lines[start].split("\t")
    for name in _MAF:
        if name not in header:
            raise refuse(path, "no such column", nearest(name, header, "export the MAF again"), field=name)
    rows = [line.split("\t") for line in lines[start + 1 :]]
    ragged = next((number for number, row in enumerate(rows) if len(row) != len(header)), None)
    if ragged is not None:
        finding = f"{len(rows[ragged])} cells where the header has {len(header)}"
        raise refuse(path, finding, "copy the file again; it may be cut off", row=start + ragged + 2)
    frame = pd.DataFrame(rows, columns=header)[list(_MAF)]
    known = frame["Variant_Classification"].isin(CHANGES_PROTEIN | _SILENT)
    if not known.all():
        row = int(frame.index[~known][0])
        value = frame.at[row, "Variant_Classification"]
        raise refuse(path, "no class of the MAF format", "mend the cell", _MAF[1], row=start + row + 2, value=value)
    barcode = frame["Tumor_Sample_Barcode"]
    pattern = source.key_pattern
    if pattern is None and barcode.str.match(_TCGA).all():
        pattern = _TCGA
    patient = barcode if pattern is None else barcode.str.extract(with_group(pattern), expand=False)
    lost = patient.isna() | (patient == "")
    if lost.any():
        row = int(frame.index[lost][0])
        raise refuse(
            path, "names no patient", "mend it, or the pattern", _MAF[2], row=start + row + 2, value=barcode[row]
        )
    changed = frame["Variant_Classification"].isin(CHANGES_PROTEIN).astype(np.float32)
    table = changed.groupby([patient, frame["Hugo_Symbol"]]).max().unstack(fill_value=0.0)
    table.index.name, table.columns.name = "patient_id", None
    return table[[name for name in table.columns if re.fullmatch(r"\S+", name) and name != "Unknown"]]
