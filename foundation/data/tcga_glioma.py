"""The lower-grade glioma and glioblastoma cohorts of The Cancer Genome Atlas, from public tables to site folders.

A patient's hospital is the tissue source site of the barcode. Images are named by their absolute path, never copied.
What patients have is explained in `tcga_glioma_inputs`; this file decides who stands where and what was followed up.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from foundation.data.site_folder import KEY
from foundation.data.tcga_glioma_inputs import (
    RECORD_COLUMNS,
    copy_number,
    expression,
    mutations,
    record,
    report_text,
    select_slices,
)
from foundation.errors import UserError

POOLED = "others"
TABLES = {
    "patients": ("patients.csv", ("case_id", "hospital", "idh", "codel", "OS", "OS.time")),
    "clinical": (
        "clinical_tcga_cdr.csv",
        (
            "case_id",
            "type",
            "age_at_initial_pathologic_diagnosis",
            "gender",
            "race",
            "histological_type",
            "histological_grade",
        ),
    ),
    "pathology": ("he_rois.csv", ("case_id", "file")),
    "radiology": ("mri_slices.csv", ("case_id", "file", "tumor_px", "is_max")),
    "omics": ("genomics_porpoise.csv.gz", ("case_id",)),
    "calls": ("mutations_cbioportal.csv.gz", ("SAMPLE_ID",)),
}
# One institution under two names, or a name that reads better short.
_SLUGS = {
    "Henry Ford Hospital": "henry_ford",
    "MD Anderson": "md_anderson",
    "MD Anderson Cancer Center": "md_anderson",
    "Emory University": "emory",
    "Thomas Jefferson University": "thomas_jefferson",
    "UNC": "university_of_north_carolina",
}


def write(
    sites: Path,
    tables: str | Path,
    smallest: int = 14,
    slices: int = 4,
    limit_z: float = 10.0,
    genes: list[str] | None = None,
) -> None:
    """Writes the cohort as site folders.

    Args:
        sites: replaced whole; `cohort.yaml` and a folder a hospital.
        tables: the folder of the public tables.
        smallest: hospitals with fewer patients are pooled as `others`.
        slices: MRI slices kept a patient, the one with most tumour first.
        limit_z: expression z-scores are clipped to plus or minus this.
        genes: symbols to keep; every symbol measured in expression, copy number or the mutation panel if None.

    Raises:
        UserError: if the folder, a table or a column is missing, or `sites` would overwrite the tables.
    """
    folder = Path(tables).resolve()
    if folder.is_relative_to(sites.resolve()):
        raise UserError(f"{folder}: cohort.sites={sites} would overwrite the tables; name another folder for sites")
    found = read_tables(folder)
    hospital = pool(found["patients"]["hospital"].map(slug), smallest)
    content = {
        "patients": follow_up(found["patients"]),
        "pathology": _images(found["pathology"], folder),
        "radiology": _images(select_slices(found["radiology"], slices), folder),
        "record": record(found["clinical"]),
        **_genomics(found, limit_z, genes),
    }
    content["reports"] = content["record"].apply(report_text, axis=1).to_frame("text")
    names = hospital.value_counts().sort_index().sort_values(ascending=False, kind="stable").index.tolist()
    names = [name for name in names if name != POOLED] + [name for name in names if name == POOLED]
    shutil.rmtree(sites, ignore_errors=True)
    for name in names:
        (sites / name).mkdir(parents=True)
        own = hospital.index[hospital == name]
        for table, frame in content.items():
            rows = frame[frame.index.isin(own)]
            if len(rows):
                rows.to_csv(sites / name / f"{table}.csv", index_label=KEY)
    (sites / "cohort.yaml").write_text(yaml.safe_dump(_declaration(names, genes or [], limit_z), sort_keys=False))


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The public tables, indexed by patient barcode.

    Raises:
        UserError: if the folder, a table or a column is missing, or a table is unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the cohort's public tables with cohort.root=...")
    found = {}
    for name, (file, columns) in TABLES.items():
        path = folder / file
        if not path.is_file():
            raise UserError(f"{path}: missing; give a folder that holds this table with cohort.root=...")
        try:
            table = pd.read_csv(path, low_memory=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, EOFError) as error:
            raise UserError(f"{path}: not readable as a table ({error}); fetch it again") from error
        for column in columns:
            if column not in table.columns:
                raise UserError(f"{path}: no column '{column}'; fetch the table again or fix cohort.root=...")
        # A sample's barcode is its patient's, 12 characters, and more.
        key = table["case_id"] if "case_id" in columns else table["SAMPLE_ID"].str[:12]
        found[name] = table.drop(columns=["case_id"], errors="ignore").set_index(key.rename(KEY))
        if name not in ("pathology", "radiology") and found[name].index.has_duplicates:
            twice = found[name].index[found[name].index.duplicated()][0]
            raise UserError(f"{path}: patient '{twice}' stands twice; keep one row")
    return found


def slug(name: str) -> str:
    """A hospital's name as a folder's name."""
    return _SLUGS.get(name, re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))


def pool(hospital: "pd.Series[str]", smallest: int) -> "pd.Series[str]":
    """Each patient's hospital, those below `smallest` patients together as `others`."""
    return hospital.where(hospital.map(hospital.value_counts()) >= smallest, POOLED)


def follow_up(patients: pd.DataFrame) -> pd.DataFrame:
    """Labels and survival; blank where unknown.

    `OS` is 1 where the patient died: the censoring columns of the other tables say the opposite and are not read. A
    follow-up of no length tells nothing, so both survival columns are blank there.
    """
    known = patients["OS"].isin([0, 1]) & (patients["OS.time"] > 0)
    return pd.DataFrame(
        {
            **{name: patients[name].where(patients[name].isin([0, 1])) for name in ("idh", "codel")},
            "os_event": patients["OS"].where(known),
            "os_days": patients["OS.time"].where(known),
        }
    )


def _images(listed: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return pd.DataFrame({"file": [str(folder / file) for file in listed["file"]]}, index=listed.index)


def _genomics(found: dict[str, pd.DataFrame], limit_z: float, genes: list[str] | None) -> dict[str, pd.DataFrame]:
    omics = found["omics"]
    channels = {"expression": expression(omics, limit_z), "copy_number": copy_number(omics)}
    panel = set(channels["expression"].columns) | set(channels["copy_number"].columns)
    channels["mutations"] = mutations(found["calls"], omics, panel)
    if genes is None:
        return channels
    unknown = sorted(set(genes) - panel - set(channels["mutations"].columns))
    if unknown:
        raise UserError(f"cohort.source.genes: '{unknown[0]}' was measured in nobody; remove it")
    return {name: table[[gene for gene in table.columns if gene in set(genes)]] for name, table in channels.items()}


def _declaration(hospitals: list[str], genes: list[str], limit_z: float) -> dict[str, Any]:
    return {
        "name": "tcga_glioma",
        "synthetic": False,
        "description": (
            "TCGA-LGG and TCGA-GBM by tissue source site. Reports are no clinicians' texts: each is written from the "
            "structured record (age group, sex, histology, grade) and holds no outcome. Glioblastoma is recorded as "
            f"grade G4, by definition. Expression z-scores are clipped to +-{limit_z:g}."
        ),
        "hospitals": hospitals,
        "expression_units": {},
        "dictionary": {
            "genes": genes,
            "expression_unit": "zscore",
            "record": RECORD_COLUMNS,
            "labels": ["idh", "codel"],
            "survival": {"event": "os_event", "time": "os_days"},
        },
    }
