"""The embedded cohort: deterministic, openly synthetic, and different at every hospital."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.data import synthetic
from foundation.data.cohort import Cohort
from foundation.data.pack import pack

GENE_TABLES = {"expression.csv", "mutations.csv", "copy_number.csv"}


@pytest.fixture(scope="module")
def few(request: pytest.FixtureRequest) -> None:
    """Few patients a hospital; what it holds of each is as in the whole cohort."""
    counts = (31, 22, 21, 12)
    sites = [dataclasses.replace(site, patients=count) for site, count in zip(synthetic.SITES, counts, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SITES", tuple(sites))
        yield


@pytest.fixture(scope="module")
def raw(few: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "raw"
    synthetic.write(folder)
    return folder


@pytest.fixture(scope="module")
def cohort(raw: Path) -> Cohort:
    pack(raw, raw.parent / "packed")
    return Cohort(raw.parent / "packed")


def test_the_same_seed_gives_the_same_digest_and_another_seed_another(few, cohort, tmp_path):
    digests = []
    for seed in (0, 1):
        synthetic.write(tmp_path / "raw", seed=seed)
        digests.append(pack(tmp_path / "raw", tmp_path / "packed")["digest"])
    assert digests[0] == cohort.digest
    assert digests[1] != cohort.digest


def test_writing_leaves_nothing_beside_the_folder(raw):
    assert [path.name for path in raw.parent.iterdir() if path.name.startswith(".")] == []


def test_everything_says_that_it_is_synthetic(raw, cohort):
    declared = yaml.safe_load((raw / "cohort.yaml").read_text())
    assert declared["synthetic"] is True and cohort.synthetic is True
    assert "no person stands behind any row" in declared["description"]
    tables = sorted(raw.glob("*/*.csv"))
    assert len(tables) == 4 + 3 + 3 + 3 * len(GENE_TABLES) + 4 + 4
    for path in tables:
        if path.name not in GENE_TABLES:
            assert (pd.read_csv(path)["source"] == "synthetic").all(), path
    texts = cohort.patients.loc[cohort.patients["report"], "report_text"]
    assert texts.str.startswith("Synthetic report. ").all()


def test_hospitals_lack_what_they_should(cohort):
    held = cohort.patients.groupby("hospital")[cohort.modalities].sum()
    lacks = {"northgate": {"genomics"}, "lakeview": {"pathology", "radiology"}}
    for hospital in ("riverside", "northgate", "lakeview", "summit"):
        assert set(held.columns[held.loc[hospital] == 0]) == lacks.get(hospital, set())


def test_a_tenth_of_the_patients_have_one_modality_alone_and_nobody_has_none(cohort):
    count = cohort.patients[cohort.modalities].astype(bool).sum(axis=1)
    assert count.min() == 1
    for _, own in count.groupby(cohort.patients["hospital"]):
        assert (own.iloc[::10] == 1).all()
        assert own.max() >= 3


def test_a_hospital_in_tpm_is_packed_in_the_cohorts_unit(raw, cohort):
    genes = cohort.dictionary.genes
    for hospital, converted in (("riverside", False), ("lakeview", True)):
        table = pd.read_csv(raw / hospital / "expression.csv", index_col="patient_id")
        for patient in table.index[:3]:
            values = table.loc[patient, genes].to_numpy(dtype=float)
            expected = np.log2(values + 1) if converted else values
            np.testing.assert_allclose(cohort.sample(patient)["genomics"]["expression"], expected, rtol=1e-4, atol=1e-4)
    assert table.to_numpy()[:, :].max() > 100, "TPM, not its logarithm"


def test_images_are_eight_bit_tiles_and_slices(cohort):
    table = cohort.patients
    for name, count in (("pathology", 4), ("radiology", 3)):
        own = table[table[name]]
        assert (own[f"{name}_count"] == count).all()
        found = cohort.sample(own.index[0])[name]
        assert found.shape == (count, 64, 64, 3) and found.dtype == np.uint8


def test_labels_and_survival_are_known_and_no_input_names_them(raw, cohort):
    table = cohort.patients
    assert set(table["biomarker"]) == set(table["os_event"]) == {0, 1}
    assert (table["os_days"] >= 1).all()
    for path in [*raw.glob("*/record.csv"), *raw.glob("*/expression.csv")]:
        assert not {"biomarker", "os_event", "os_days"} & set(pd.read_csv(path, nrows=1).columns)


def test_hospitals_of_one_size_hold_different_patients(tmp_path):
    same = [dataclasses.replace(site, patients=21, lacks=("pathology", "radiology")) for site in synthetic.SITES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SITES", tuple(same))
        synthetic.write(tmp_path / "raw")
    ages = [
        pd.read_csv(tmp_path / "raw" / site.name / "record.csv").set_index("patient_id")["age"].rename(lambda i: i[2:])
        for site in same
    ]
    both = ages[0].index.intersection(ages[1].index)
    assert (ages[0][both] == ages[1][both]).mean() < 0.5
