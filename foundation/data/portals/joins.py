"""Files of single patients, joined to one table of the cohort."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foundation.data.problems import refuse
from foundation.files import replacing

_REPORT = "report it to the portal"
_BARCODE = "Tumor_Sample_Barcode"


def read_tpm(path: Path) -> "pd.Series[float]":
    """TPM by Ensembl id of a STAR count file of the GDC; rows of reads that met no gene are left out.

    Format: https://docs.gdc.cancer.gov/Data/Bioinformatics_Pipelines/Expression_mRNA_Pipeline/

    Raises:
        DataError: if a column is missing, a value is no number from zero, or a gene stands twice.
    """
    try:
        table = pd.read_csv(path, sep="\t", comment="#", dtype={"gene_id": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise refuse(path, f"no table ({error})", _REPORT) from error
    for column in ("gene_id", "tpm_unstranded"):
        if column not in table:
            raise refuse(path, "no such column", _REPORT, field=column)
    genes = table[table["gene_id"].str.startswith("ENSG", na=False)]
    values = pd.to_numeric(genes["tpm_unstranded"], errors="coerce")
    wrong = values.isna() | (values < 0) | np.isinf(values)
    if wrong.any():
        gene = genes["gene_id"][wrong].iloc[0]
        value = genes["tpm_unstranded"][wrong].iloc[0]
        raise refuse(path, f"gene {gene} has no TPM", _REPORT, field="tpm_unstranded", value=value)
    if genes["gene_id"].duplicated().any():
        twice = genes["gene_id"][genes["gene_id"].duplicated()].iloc[0]
        raise refuse(path, "gene stands twice", _REPORT, field="gene_id", value=twice)
    if genes.empty:
        raise refuse(path, "no gene", _REPORT, field="gene_id")
    return pd.Series(values.to_numpy(np.float32), index=genes["gene_id"])


def write_expression(files: dict[str, Path], target: Path) -> None:
    """Writes `[patients, genes]` in TPM as Parquet, a column an Ensembl id.

    Args:
        files: patient → STAR counts.
        target: Parquet.

    Raises:
        DataError: if a file cannot be used, or two name different genes.
    """
    genes: pd.Index[str] | None = None
    values = []
    for patient in sorted(files):
        profile = read_tpm(files[patient])
        genes = profile.index if genes is None else genes
        if not profile.index.equals(genes):
            finding = f"{len(profile)} genes, not the {len(genes)} of the other patients"
            raise refuse(
                files[patient], finding, "files of two gene models cannot be joined; report it", field="gene_id"
            )
        values.append(profile.to_numpy())
    assert genes is not None
    write_parquet(pd.DataFrame(np.stack(values), index=sorted(files), columns=list(genes)), target)


def write_parquet(table: pd.DataFrame, target: Path) -> None:
    """Writes `[patients, genes]`, the patients in column `patient_id`."""
    columns = {"patient_id": pa.array(table.index.astype(str))}
    columns |= {str(name): pa.array(table[name].to_numpy(np.float32), from_pandas=True) for name in table}
    with replacing(target) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def write_maf(files: dict[str, Path], target: Path) -> list[str]:
    """Joins MAF files, patient by patient.

    Format: https://docs.gdc.cancer.gov/Data/File_Formats/MAF_Format/

    Args:
        files: patient → MAF.
        target: the joined MAF.

    Returns:
        Patients in whom no mutation was found; a MAF cannot say so.

    Raises:
        DataError: if a file cannot be used, has other columns than the first, or names another patient.
    """
    header: list[str] | None = None
    silent = []
    with replacing(target) as temporary, temporary.open("wb") as out:
        for patient in sorted(files):
            columns, rows = _read_maf(files[patient], patient)
            if header is None:
                header = columns
                out.write(("\t".join(header) + "\n").encode())
            if columns != header:
                odd = next(iter(set(columns) ^ set(header)), columns[0])
                advice = "files of two releases cannot be joined: start again with refresh=true"
                raise refuse(files[patient], "other columns than the other patients'", advice, field=odd)
            out.write("".join(f"{row}\n" for row in rows).encode())
            if not rows:
                silent.append(patient)
    return silent


def _read_maf(path: Path, patient: str) -> tuple[list[str], list[str]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise refuse(path, f"not readable ({error})", _REPORT) from error
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not lines or _BARCODE not in lines[0].split("\t"):
        raise refuse(path, "no such column", _REPORT, field=_BARCODE)
    columns = lines[0].split("\t")
    place = columns.index(_BARCODE)
    for number, line in enumerate(lines[1:]):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise refuse(
                path, f"{len(cells)} cells where the header has {len(columns)}", _REPORT, value=f"{number + 1}"
            )
        if not cells[place].startswith(f"{patient}-"):
            raise refuse(path, f"names another patient than {patient}", _REPORT, _BARCODE, value=cells[place])
    return columns, lines[1:]
