"""The glioma cohort's declaration: on invented patients, then on the real tables where they are at hand."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.declaration import Declaration, declare
from foundation.data.dictionary import is_outcome
from foundation.data.genes import GeneVocabulary
from foundation.data.pack import pack
from foundation.data.problems import Problems
from foundation.data.reading import read_sites
from foundation.data.site import Site

ROOT = Path(__file__).parents[3]
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


def declaration(**changed: Any) -> Declaration:
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        cohort = compose("validate", overrides=["cohort=tcga_glioma"]).cohort
    content: Any = OmegaConf.to_container(cohort.declaration, resolve=True)
    content["hospitals"] |= changed
    return declare(content, Path("cohort.declaration"))


@pytest.mark.parametrize("column", [*OUTCOMES, "censored", "death_days_to", "new_tumor_event_dx_days_to", "PFI.time"])
def test_outcome_columns_are_refused_as_inputs(column):
    assert is_outcome(column)


def test_baseline_columns_are_no_outcomes():
    assert not any(is_outcome(column.name) for column in declaration().dictionary.record)


@pytest.fixture
def few(tmp_path) -> dict[str, Site]:
    """Five invented patients in tables of the public form."""
    ids = [f"TCGA-XX-000{number}" for number in range(1, 6)]
    hospitals = ["MD Anderson", "MD Anderson Cancer Center", "UNC", "University of North Carolina", "Case Western"]
    pd.DataFrame(
        {
            "case_id": ids,
            "hospital": hospitals,
            "idh": [1, -1, np.nan, 0, 0],
            "codel": [0, 1, -1, 0, 0],
            "OS": [1, 0, 0, 1, 0],
            "OS.time": [358, 40, 12, 99, 77],
        }
    ).to_csv(tmp_path / "patients.csv", index=False)
    pd.DataFrame(
        {
            "case_id": ids,
            "type": ["GBM", "LGG", "LGG", "LGG", "LGG"],
            "age_at_initial_pathologic_diagnosis": [44, np.nan, 50, 60, 39],
            "gender": ["FEMALE", "MALE", "MALE", "FEMALE", "MALE"],
            "race": ["[Not Available]", "ASIAN", "WHITE", "[Not Evaluated]", "WHITE"],
            "histological_type": [
                "Untreated primary (de novo) GBM",
                "Oligodendroglioma",
                "Astrocytoma",
                "Oligoastrocytoma",
                "Astrocytoma",
            ],
            "histological_grade": ["[Not Available]", "[Discrepancy]", "G2", "G3", "G3"],
        }
    ).to_csv(tmp_path / "clinical_tcga_cdr.csv", index=False)
    pd.DataFrame(
        {
            "SAMPLE_ID": [f"{patient}-01" for patient in ids[:4]],
            "TP53": ["R175H", "WT", "NS", "NS"],
            "IDH1": ["WT", "R132H", "NS", "WT"],
        }
    ).to_csv(tmp_path / "mutations_cbioportal.csv.gz", index=False)
    pd.DataFrame(
        {
            "case_id": [ids[0], ids[2], ids[3], ids[4]],
            "TP53_mut": [0, 1, 0, 0],
            "TTN_mut": [1, 0, 0, 1],
            "RAS_mut": [1, 1, 1, 1],
            "TP53_rnaseq": [3515.0, -20.0, 0.5, 1.0],
            "EGFR_rnaseq": [1.0, 2.0, 3.0, 4.0],
            "EGFR_cnv": [-2, 2, 0, 1],
            "censorship": [0, 1, 0, 1],
        }
    ).to_csv(tmp_path / "genomics_porpoise.csv.gz", index=False)
    for name in "1234":
        Image.fromarray(np.full((32, 32), 50, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    scans = {"file": ["1.png", "2.png", "3.png"], "tumor_px": [0, 5, 9], "is_max": [False, False, True]}
    pd.DataFrame({"case_id": ids[0], **scans}).to_csv(tmp_path / "mri_slices.csv", index=False)
    pd.DataFrame({"case_id": [ids[0], "TCGA-ZZ-9999"], "file": "4.png"}).to_csv(tmp_path / "he_rois.csv", index=False)
    problems = Problems()
    sites = read_sites(tmp_path, declaration(smallest=2), problems)
    assert problems.errors == []
    return {site.name: site for site in sites}


def test_one_institution_under_two_names_is_one_and_small_ones_are_pooled(few):
    assert {name: len(site.patients) for name, site in few.items()} == {
        "md_anderson": 2,
        "university_of_north_carolina": 2,
        "others": 1,
    }


def test_unknown_labels_are_blank(few):
    found = pd.concat([site.patients for site in few.values()])
    assert found["idh"].isna().tolist() == [False, True, True, False, False]
    assert found["codel"].isna().tolist() == [False, False, True, False, False]
    assert found.loc["TCGA-XX-0001", ["os_event", "os_days"]].tolist() == [1, 358]


def test_not_sequenced_is_missing_never_wild_type(few):
    found = pd.concat([site.tables["mutations"] for site in few.values()])
    assert sorted(found.columns) == ["IDH1", "TP53", "TTN"], "RAS is a family, no gene"
    assert found.loc["TCGA-XX-0001", ["IDH1", "TP53", "TTN"]].tolist() == [0, 1, 1]
    assert found.loc["TCGA-XX-0002", ["IDH1", "TP53"]].tolist() == [1, 0]
    assert found.loc["TCGA-XX-0003"].isna().all(), "all NS, so no 0 or 1 of another table stands for it"
    assert found.loc["TCGA-XX-0004", "IDH1"] == 0
    assert np.isnan(found.loc["TCGA-XX-0005", "IDH1"]), "no calls at all"
    assert found.loc["TCGA-XX-0005", ["TP53", "TTN"]].tolist() == [0, 1]


def test_expression_is_clipped_and_outcomes_are_no_genes(few):
    site = few["md_anderson"]
    assert site.tables["expression"].loc["TCGA-XX-0001"].to_dict() == {"EGFR": 1, "TP53": 10}
    assert few["university_of_north_carolina"].tables["expression"]["TP53"].tolist() == [-10, 0.5]
    assert list(site.tables["copy_number"].columns) == ["EGFR"]


def test_record_and_report_say_what_is_known(few):
    record = few["md_anderson"].tables["record"]
    assert record.loc["TCGA-XX-0001", ["age", "sex", "histology", "grade"]].tolist() == [44, "F", "glioblastoma", "G4"]
    assert record[["race", "grade"]].isna().to_numpy().tolist() == [[True, False], [False, True]]
    assert few["md_anderson"].tables["reports"]["text"].tolist() == [
        "Written from the structured record: woman aged 40 to 49 with glioblastoma of grade 4.",
        "Written from the structured record: man of unknown age with oligodendroglioma of unknown grade.",
    ]


def test_slices_start_with_most_tumour_and_unknown_patients_are_left_out(few):
    images = few["md_anderson"].tables
    assert [Path(path).name for path in images["radiology"]["path"]] == ["3.png", "2.png", "1.png"]
    assert images["pathology"].index.tolist() == ["TCGA-XX-0001"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    if not TABLES.is_dir():
        pytest.skip(f"the public tables are not at {TABLES}; set CONSILIUM_DATA to the folder that holds tcga_glioma")
    folder = tmp_path_factory.mktemp("tcga_glioma") / "packed"
    pack(TABLES, folder, declaration())
    return Cohort(folder)


@pytest.fixture(scope="module")
def truth(cohort) -> pd.DataFrame:
    return pd.read_csv(TABLES / "patients.csv", index_col="case_id").loc[cohort.patients.index]


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
    assert (table["pathology_count"] == truth["n_he"]).all()
    assert (table["radiology"].astype(bool) == (truth["n_mri"] > 0)).all()
    assert table["radiology_count"].max() == 4
    assert table["record"].all() and table["report"].all()


def test_labels_and_censoring_have_the_right_direction(cohort, truth):
    table = cohort.patients
    assert (table["os_event"] == truth["OS"]).all()
    assert (table["os_days"] == truth["OS.time"]).all()
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


def test_inputs_hold_no_outcome(cohort):
    texts = cohort.patients["report_text"]
    assert texts.str.startswith("Written from the structured record: ").all()
    assert not texts.str.lower().str.contains(OUTCOME_WORDS).any()
    assert "no clinicians' texts" in declaration().description


def test_age_is_in_years(cohort):
    ages = [cohort.sample(patient)["record"]["age"] for patient in cohort.patients.index]
    assert min(ages) >= 10 and 45 < np.mean(ages) < 55


def test_held_out_hospitals_hold_every_modality_and_both_ends(cohort):
    config = OmegaConf.load(ROOT / "configs/cohort/tcga_glioma.yaml")
    table = cohort.patients[cohort.patients["hospital"].isin(list(config.test_hospitals))]
    assert 0.20 <= len(table) / len(cohort.patients) <= 0.25
    assert table[["pathology", "radiology", "genomics", "report", "record"]].sum().min() >= 30
    assert 0.25 < table["os_event"].mean() < 0.75
