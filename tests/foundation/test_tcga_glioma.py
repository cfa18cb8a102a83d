"""The glioma cohort: helper functions on hand-made tables, then the real tables where they are at hand."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.data import tcga_glioma
from foundation.data.cohort import Cohort
from foundation.data.dictionary import is_outcome
from foundation.data.genes import GeneVocabulary
from foundation.data.pack import pack
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

ROOT = Path(__file__).parents[2]
TABLES = (ROOT / os.environ.get("CONSILIUM_DATA", "../shared/data") / "tcga_glioma").resolve()
OUTCOMES = [
    "vital_status",
    "tumor_status",
    "treatment_outcome_first_course",
    "new_tumor_event_type",
    "last_contact_days_to",
    "cause_of_death",
    "OS",
    "OS.time",
    "DSS",
    "DFI",
    "PFI",
    "death01",
    "censorship",
    "survival_months",
]
OUTCOME_WORDS = re.compile(
    r"\b(?:dead|died|deceased|alive|death|surviv|censor|recur|progress|relapse|follow|day|month)"
)


@pytest.mark.parametrize("column", [*OUTCOMES, "censored", "death_days_to", "new_tumor_event_dx_days_to", "PFI.time"])
def test_outcome_columns_are_refused_as_inputs(column):
    assert is_outcome(column)


@pytest.mark.parametrize("column", [*(column["name"] for column in RECORD_COLUMNS), "histological_type"])
def test_baseline_columns_are_no_outcomes(column):
    assert not is_outcome(column)


def test_not_sequenced_is_missing_never_wild_type():
    calls = pd.DataFrame(
        {"TP53": ["R175H", "WT", "NS", "NS"], "IDH1": ["WT", "R132H", "NS", "WT"], "ZZZ3": ["WT"] * 4},
        index=["a", "b", "c", "d"],
    )
    omics = pd.DataFrame(
        {"TP53_mut": [0, 1, 0, 0], "TTN_mut": [1, 0, 0, 1], "RAS_mut": [1, 1, 1, 1]}, index=["a", "c", "d", "e"]
    )
    found = mutations(calls, omics, panel={"IDH1"})
    assert list(found.columns) == ["IDH1", "TP53", "TTN"]
    assert found.loc["a"].tolist() == [0, 1, 1]
    assert found.loc["b", ["IDH1", "TP53"]].tolist() == [1, 0]
    assert "c" not in found.index, "all NS, so no 0 or 1 of another table stands for it"
    assert found.loc["d", "IDH1"] == 0
    assert np.isnan(found.loc["e", "IDH1"]), "no calls at all"
    assert found.loc["e", ["TP53", "TTN"]].tolist() == [0, 1]


def test_expression_is_clipped_and_named_by_symbol():
    omics = pd.DataFrame({"TP53_rnaseq": [3515.0, -20.0], "EGFR_cnv": [-2, 2], "censorship": [0, 1], "age": [1, 2]})
    assert expression(omics, 10)["TP53"].tolist() == [10, -10]
    assert list(copy_number(omics).columns) == ["EGFR"]


def test_follow_up_blanks_what_is_unknown():
    patients = pd.DataFrame(
        {"idh": [1, -1, np.nan], "codel": [0, 1, -1], "OS": [1, 0, 0], "OS.time": [358, 0, 12]}, index=["a", "b", "c"]
    )
    found = tcga_glioma.follow_up(patients)
    assert found["idh"].isna().tolist() == [False, True, True]
    assert found["codel"].isna().tolist() == [False, False, True]
    assert found.loc["a", ["os_event", "os_days"]].tolist() == [1, 358]
    assert found.loc["b", ["os_event", "os_days"]].isna().all(), "a follow-up of no length"
    assert found.loc["c", "os_event"] == 0


def test_hospitals_are_slugs_and_small_ones_are_pooled():
    names = pd.Series(["MD Anderson", "MD Anderson Cancer Center", "Case Western - St Joes", "UNC"])
    pooled = tcga_glioma.pool(names.map(tcga_glioma.slug), smallest=2)
    assert pooled.tolist() == ["md_anderson", "md_anderson", "others", "others"]
    assert tcga_glioma.slug("Case Western - St Joes") == "case_western_st_joes"
    assert tcga_glioma.slug("UNC") == tcga_glioma.slug("University of North Carolina")


def test_record_and_report_say_what_is_known():
    clinical = pd.DataFrame(
        {
            "type": ["GBM", "LGG"],
            "age_at_initial_pathologic_diagnosis": [44.0, np.nan],
            "gender": ["FEMALE", "MALE"],
            "race": ["[Not Available]", "ASIAN"],
            "histological_type": ["Untreated primary (de novo) GBM", "Oligodendroglioma"],
            "histological_grade": ["[Not Available]", "[Discrepancy]"],
        },
        index=["a", "b"],
    )
    found = record(clinical)
    assert found.loc["a", ["age", "sex", "histology", "grade"]].tolist() == [44.0, "F", "glioblastoma", "G4"]
    assert found.loc[["a", "b"], ["race", "grade"]].isna().to_numpy().tolist() == [[True, False], [False, True]]
    assert found.apply(report_text, axis=1).tolist() == [
        "Written from the structured record: woman aged 40 to 49 with glioblastoma of grade 4.",
        "Written from the structured record: man of unknown age with oligodendroglioma of unknown grade.",
    ]


def test_slices_start_with_most_tumour():
    listed = pd.DataFrame(
        {"file": ["1", "2", "3", "4"], "tumor_px": [0, 9, 5, 7], "is_max": [False, True, False, True]},
        index=["a", "a", "a", "b"],
    )
    chosen = select_slices(listed, 2)
    assert list(zip(chosen.index, chosen["file"], strict=True)) == [("a", "2"), ("a", "3"), ("b", "4")]
    assert list(chosen.columns) == list(listed.columns)


def test_missing_folder_table_and_column_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder; .*cohort\.root="):
        tcga_glioma.write(tmp_path / "sites", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"patients\.csv: missing; .*cohort\.root="):
        tcga_glioma.write(tmp_path / "sites", tmp_path)
    (tmp_path / "patients.csv").write_text("case_id,hospital\nx,y\n")
    with pytest.raises(UserError, match=r"patients\.csv: no column 'idh'") as caught:
        tcga_glioma.write(tmp_path / "sites", tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="would overwrite the tables"):
        tcga_glioma.write(tmp_path, tmp_path)
    assert (tmp_path / "patients.csv").exists()


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Path:
    if not TABLES.is_dir():
        pytest.skip(f"the public tables are not at {TABLES}; set CONSILIUM_DATA to the folder that holds tcga_glioma")
    folder = tmp_path_factory.mktemp("tcga_glioma") / "sites"
    tcga_glioma.write(folder, TABLES)
    return folder


@pytest.fixture(scope="module")
def cohort(sites) -> Cohort:
    pack(sites, sites.parent / "packed")
    return Cohort.load(sites.parent / "packed")


@pytest.fixture(scope="module")
def truth(sites) -> pd.DataFrame:
    return pd.read_csv(TABLES / "patients.csv", index_col="case_id")


def test_hospitals_and_modalities_match_the_published_counts(cohort, truth):
    table = cohort.patients
    assert table["hospital"].value_counts().to_dict() == {
        "henry_ford": 177,
        "case_western_st_joes": 104,
        "duke": 74,
        "case_western": 68,
        "md_anderson": 62,
        "ucsf": 39,
        "university_of_florida": 30,
        "emory": 27,
        "thomas_jefferson": 19,
        "cureline": 14,
        "others": 42,
    }
    assert not cohort.synthetic
    assert not table.index.duplicated().any()
    assert set(table.index) == set(truth.index)
    truth = truth.loc[table.index]
    assert (table["pathology_count"] == truth["n_he"]).all()
    assert (table["radiology"].astype(bool) == (truth["n_mri"] > 0)).all()
    assert table["radiology_count"].max() == 4
    assert table["record"].all() and table["report"].all()


def test_labels_and_censoring_have_the_right_direction(cohort, truth):
    table, truth = cohort.patients, truth.loc[cohort.patients.index]
    followed = truth["OS.time"] > 0
    assert (table["os_event"][followed] == truth["OS"][followed]).all()
    assert table.loc[~followed, ["os_event", "os_days"]].isna().all(axis=None)
    assert (table["os_days"].dropna() > 0).all()
    for label in ("idh", "codel"):
        assert table[label].notna().sum() == truth[label].isin([0, 1]).sum()
        assert set(table[label].dropna()) == {0.0, 1.0}


def test_patients_not_sequenced_have_no_mutation_value(cohort):
    calls = pd.read_csv(TABLES / "mutations_cbioportal.csv.gz", low_memory=False)
    skipped = calls.loc[(calls["TP53"] == "NS"), "SAMPLE_ID"].str[:12]
    assert len(skipped) == 133
    held = [cohort.sample(patient).get("genomics") for patient in skipped]
    assert all(genomics is None or np.isnan(genomics["mutations"]).all() for genomics in held)
    assert {"IDH1", "IDH2", "TP53"} <= set(cohort.dictionary.genes)
    assert "RAS" not in cohort.dictionary.genes


def test_expression_stays_where_it_was_measured(cohort, truth):
    patient = truth.index[truth["has_rna"]][0]
    omics = pd.read_csv(TABLES / "genomics_porpoise.csv.gz").set_index("case_id")
    gene = cohort.dictionary.genes.index("EGFR")
    found = cohort.sample(patient)["genomics"]["expression"]
    assert found[gene] == pytest.approx(np.clip(omics.loc[patient, "EGFR_rnaseq"], -10, 10), abs=1e-4)
    symbols = GeneVocabulary.shipped().resolve(
        name.removesuffix("_rnaseq") for name in omics if name.endswith("_rnaseq")
    )
    assert np.isfinite(found).sum() == len(set(symbols.symbol.values())) > 1500


def test_inputs_hold_no_outcome(sites, cohort):
    for path in sites.glob("*/record.csv"):
        assert not [column for column in pd.read_csv(path, nrows=1).columns if is_outcome(column)]
    texts = cohort.patients["report_text"]
    assert texts.str.startswith("Written from the structured record: ").all()
    assert not texts.str.lower().str.contains(OUTCOME_WORDS).any()
    assert "no clinicians' texts" in yaml.safe_load((sites / "cohort.yaml").read_text())["description"]


def test_age_is_in_years(cohort):
    ages = [cohort.sample(patient)["record"]["age"] for patient in cohort.patients.index]
    assert min(ages) >= 10 and 45 < np.mean(ages) < 55


def test_held_out_hospitals_hold_every_modality_and_both_ends(cohort):
    config = yaml.safe_load((ROOT / "configs/cohort/tcga_glioma.yaml").read_text())
    table = cohort.patients[cohort.patients["hospital"].isin(config["test_hospitals"])]
    assert 0.20 <= len(table) / len(cohort.patients) <= 0.25
    assert table[["pathology", "radiology", "genomics", "report", "record"]].sum().min() >= 30
    assert 0.25 < table["os_event"].mean() < 0.75
