"""Splits: by hospital, in folds, from a file; never a patient in two parts."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.data.cohort import Cohort
from foundation.data.pack import pack
from foundation.data.split_file import PARTS
from foundation.data.splits import Split, configured_split, split, split_folds
from foundation.errors import UserError

DATA = {"folds": 0, "fold": 0, "stratify": None, "split_file": None, "validation_fraction": 0.2, "split_seed": 3}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three hospitals of 17, 8 and 5 patients with nothing but a record."""
    root = tmp_path_factory.mktemp("splits")
    sizes = {"alpha": 17, "beta": 8, "gamma": 5}
    for hospital, size in sizes.items():
        (root / "sites" / hospital).mkdir(parents=True)
        patients = pd.DataFrame({"patient_id": [f"{hospital}{index}" for index in range(size)]})
        patients["idh"] = [[0, 0, 1, None][index % 4] for index in range(size)]
        patients.to_csv(root / "sites" / hospital / "patients.csv", index=False)
        patients[["patient_id"]].assign(age=60).to_csv(root / "sites" / hospital / "record.csv", index=False)
    record = [{"name": "age", "kind": "continuous"}]
    dictionary = {"genes": [], "expression_unit": "log2_tpm", "record": record, "labels": ["idh"]}
    declaration = {"name": "own", "synthetic": True, "description": "Made by a test.", "hospitals": list(sizes)}
    (root / "sites" / "cohort.yaml").write_text(yaml.safe_dump({**declaration, "dictionary": dictionary}))
    pack(root / "sites", root / "packed")
    return Cohort(root / "packed")


@given(st.integers(0, 2**31), st.floats(0, 0.9), st.sets(st.sampled_from(["alpha", "beta", "gamma"])))
def test_no_patient_stands_in_two_parts_and_held_out_hospitals_are_test_whole(cohort, seed, fraction, held_out):
    parts = split(cohort, sorted(held_out), fraction, seed)
    hospital = cohort.patients["hospital"]
    everybody = [*parts.train, *parts.validation, *parts.test]
    assert len(everybody) == len(set(everybody))
    assert set(everybody) == set(cohort.patients.index)
    assert set(parts.test) == set(hospital.index[hospital.isin(held_out)])
    drawn = hospital[parts.validation].value_counts().to_dict()
    sizes = hospital[~hospital.isin(held_out)].value_counts()
    assert drawn == {name: round(fraction * size) for name, size in sizes.items() if round(fraction * size)}
    assert split(cohort, sorted(held_out), fraction, seed) == parts


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["alpha", "beta"]))
def test_a_hospital_alone_draws_the_validation_patients_of_the_pooled_cohort(cohort, seed, hospital):
    pooled = split(cohort, ["gamma"], 0.3, seed)
    alone = split(Cohort(cohort.folder, [hospital]), ["gamma"], 0.3, seed)
    assert alone.validation == [name for name in pooled.validation if name.startswith(hospital)] != []
    assert alone.train == [name for name in pooled.train if name.startswith(hospital)]
    assert alone.test == []


def test_another_seed_draws_others(cohort):
    assert split(cohort, [], 0.3, 0).validation != split(cohort, [], 0.3, 1).validation


def test_an_unknown_hospital_and_a_patient_in_two_parts_are_refused(cohort):
    with pytest.raises(UserError, match=r"test_hospitals: 'delta' is not in own; it has alpha, beta, gamma"):
        split(cohort, ["delta"], 0.1, 0)
    with pytest.raises(UserError, match="patient b stands in two parts"):
        Split(["a", "b"], ["c"], ["b"])


@given(st.integers(0, 2**31), st.integers(2, 7), st.sampled_from([None, "idh"]))
def test_folds_test_every_patient_once_and_share_out_hospitals_and_labels(cohort, seed, folds, stratify):
    parts = [split_folds(cohort, folds, fold, stratify, 0.2, seed) for fold in range(folds)]
    tested = [patient for part in parts for patient in part.test]
    assert sorted(tested) == sorted(cohort.patients.index)
    table = cohort.patients
    for part in parts:
        assert sorted([*part.train, *part.validation, *part.test]) == sorted(table.index)
    groups = [table["hospital"]] if stratify is None else [table["hospital"], table["idh"].fillna(-1)]
    for _, rows in table.groupby(groups):
        counts = [len(rows.index.intersection(part.test)) for part in parts]
        assert max(counts) - min(counts) <= 1


def write(path: Path, cohort: Cohort, **changes: str) -> Path:
    ids = sorted(cohort.patients.index)
    part = {patient: PARTS[index % 3] for index, patient in enumerate(ids)} | changes
    path.write_text("patient_id,part\n" + "".join(f"{patient},{name}\n" for patient, name in part.items() if name))
    return path


def test_a_file_says_the_parts(cohort, tmp_path):
    path = write(tmp_path / "parts.csv", cohort)
    parts = configured_split(cohort, {**DATA, "test_hospitals": [], "split_file": str(path)})
    ids = sorted(cohort.patients.index)
    assert (parts.train, parts.validation, parts.test) == (ids[::3], ids[1::3], ids[2::3])
    alone = configured_split(Cohort(cohort.folder, ["beta"]), {**DATA, "test_hospitals": [], "split_file": str(path)})
    assert alone.train == [patient for patient in parts.train if patient.startswith("beta")]


def given_file(path: Path, cohort: Cohort, text: str | None = None, **changes: str) -> dict[str, Any]:
    write(path, cohort, **changes)
    if text is not None:
        path.write_text(text)
    return {"test_hospitals": [], "split_file": str(path)}


UNFIT = {
    "two ways": (lambda p, c: {"test_hospitals": ["beta"], "folds": 3}, "data.test_hospitals and data.folds"),
    "one fold": (lambda p, c: {"test_hospitals": [], "folds": 1}, "data.fold: found 0 of data.folds=1"),
    "no such fold": (lambda p, c: {"test_hospitals": [], "folds": 3, "fold": 3}, "found 3 of data.folds=3"),
    "no such label": (lambda p, c: {"test_hospitals": [], "folds": 3, "stratify": "her2"}, "data.stratify: 'her2'"),
    "no such part": (lambda p, c: given_file(p, c, alpha0="tests"), "patient alpha0 is in no part (tests)"),
    "unsaid": (lambda p, c: given_file(p, c, alpha0=""), "1 patients of own are in no part (alpha0)"),
    "a stranger": (lambda p, c: given_file(p, c, zeta9="test"), "field patient_id: not in own (zeta9)"),
    "no column": (lambda p, c: given_file(p, c, "patient_id,fold\nalpha0,1\n"), "no column 'part'"),
    "twice": (lambda p, c: given_file(p, c, "patient_id,part\nalpha0,test\nalpha0,train\n"), "row 2 already"),
}


@pytest.mark.parametrize(("change", "named"), UNFIT.values(), ids=UNFIT.keys())
def test_a_split_that_cannot_be_followed_is_one_line(cohort, tmp_path, change, named):
    with pytest.raises(UserError) as refused:
        configured_split(cohort, {**DATA, **change(tmp_path / "parts.csv", cohort)})
    assert named in str(refused.value)


def test_test_patients_of_a_hospital_that_trains_measure_no_round(cohort):
    folded = configured_split(cohort, {**DATA, "folds": 3, "test_hospitals": []})
    assert folded.test and folded.evaluation(whole_hospitals=False) == folded.validation
    held_out = configured_split(cohort, {**DATA, "test_hospitals": ["beta"]})
    assert set(held_out.evaluation(whole_hospitals=True)) == {*held_out.validation, *held_out.test}
