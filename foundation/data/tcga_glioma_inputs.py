"""What a glioma patient shows: genomics, record, report and the MRI slices chosen. Nothing here reads an outcome.

Histology and grade are the pathologist's diagnosis at baseline, before any follow-up: legitimate inputs, though
strongly prognostic (glioblastoma against lower grade). The year of diagnosis is left out, for it mostly says how long a
patient could be followed. The integer codes of laterality and location come without a key and are left out.
"""

import re
from typing import Any

import numpy as np
import pandas as pd

_SYMBOL = re.compile(r"[A-Z][A-Z0-9]*(?:orf[0-9]+)?(?:-[A-Z0-9]+)*")
# A family of genes among the mutation columns; as a symbol it names nothing.
_FAMILIES = {"RAS"}
_HISTOLOGY = {
    "Astrocytoma": "astrocytoma",
    "Oligoastrocytoma": "oligoastrocytoma",
    "Oligodendroglioma": "oligodendroglioma",
    "Untreated primary (de novo) GBM": "glioblastoma",
    "Glioblastoma Multiforme (GBM)": "glioblastoma",
    "Treated primary GBM": "glioblastoma",
}
_SEX = {"FEMALE": "F", "MALE": "M"}
_RACE = {
    "WHITE": "white",
    "BLACK OR AFRICAN AMERICAN": "black",
    "ASIAN": "asian",
    "AMERICAN INDIAN OR ALASKA NATIVE": "american_indian",
}
_GRADES = ["G2", "G3", "G4"]
RECORD_COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "kind": "continuous", "center": 50.0, "scale": 15.0},
    {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
    {"name": "race", "kind": "categorical", "values": list(_RACE.values())},
    {"name": "histology", "kind": "categorical", "values": list(dict.fromkeys(_HISTOLOGY.values()))},
    {"name": "grade", "kind": "categorical", "values": _GRADES},
]


def _columns(table: pd.DataFrame, suffix: str) -> pd.DataFrame:
    """The columns of a suffix under their gene symbols."""
    named = {str(column): str(column).removesuffix(suffix) for column in table.columns if str(column).endswith(suffix)}
    kept = {column: gene for column, gene in named.items() if _SYMBOL.fullmatch(gene) and gene not in _FAMILIES}
    return table[list(kept)].rename(columns=kept).astype(np.float32)


def expression(omics: pd.DataFrame, limit_z: float) -> pd.DataFrame:
    """z-scores by gene, clipped.

    They are relative to the spread of diploid samples, which is almost nothing for silent genes: some reach 3,500.
    """
    return _columns(omics, "_rnaseq").clip(-limit_z, limit_z)


def copy_number(omics: pd.DataFrame) -> pd.DataFrame:
    """Copies by gene, -2 (deep loss) to 2 (high gain)."""
    return _columns(omics, "_cnv")


def mutations(calls: pd.DataFrame, omics: pd.DataFrame, panel: set[str]) -> pd.DataFrame:
    """1 = mutated, 0 = wild type, NaN = not sequenced.

    Args:
        calls: protein changes by gene; `WT` and `NS` (not sequenced).
        omics: 0/1 columns `*_mut`; they fill genes and patients that the calls lack.
        panel: symbols kept of the calls, besides those of `omics`.
    """
    filled = _columns(omics, "_mut")
    genes = [gene for gene in calls.columns if gene in panel or gene in filled.columns]
    sequenced = calls[genes].notna() & (calls[genes] != "NS")
    called = (calls[genes] != "WT").astype(np.float32).where(sequenced)
    # A patient whose calls are all NS was not sequenced, so a 0 elsewhere is no wild type either.
    not_sequenced = called.index[~sequenced.any(axis=1)] if genes else called.index[:0]
    merged = called.combine_first(filled[~filled.index.isin(not_sequenced)])
    return merged[sorted(merged.columns)].dropna(how="all")


def record(clinical: pd.DataFrame) -> pd.DataFrame:
    """Age in years, sex, race, histology and grade at diagnosis; blank where not recorded."""
    grade = clinical["histological_grade"].where(clinical["histological_grade"].isin(_GRADES))
    return pd.DataFrame(
        {
            "age": clinical["age_at_initial_pathologic_diagnosis"],
            "sex": clinical["gender"].map(_SEX),
            "race": clinical["race"].map(_RACE),
            "histology": clinical["histological_type"].map(_HISTOLOGY),
            # The tables leave the grade of glioblastoma blank; by definition it is 4.
            "grade": grade.mask(clinical["type"] == "GBM", "G4"),
        }
    )


def report_text(row: "pd.Series[Any]") -> str:
    """One sentence from a row of the record, which says that it was written so."""
    person = {"F": "woman", "M": "man"}.get(row["sex"], "person")
    age = (
        "of unknown age"
        if pd.isna(row["age"])
        else f"aged {row['age'] // 10 * 10:.0f} to {row['age'] // 10 * 10 + 9:.0f}"
    )
    tumour = "glioma" if pd.isna(row["histology"]) else row["histology"]
    grade = "of unknown grade" if pd.isna(row["grade"]) else f"of grade {row['grade'].removeprefix('G')}"
    return f"Written from the structured record: {person} {age} with {tumour} {grade}."


def select_slices(listed: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` slices a patient: the one with most tumour, then the others by tumour area."""
    order = listed.assign(first=~listed["is_max"].astype(bool), area=-listed["tumor_px"], patient=listed.index)
    order = order.sort_values(["patient", "first", "area", "file"])
    return listed.loc[[]] if order.empty else order.groupby("patient", sort=False).head(count)[listed.columns]
