"""Splits of a cohort that grows: nobody moves, whoever comes or leaves."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.grow import grow
from foundation.data.pack import pack
from foundation.data.splits import PARTS, Split, split, split_folds
from foundation.errors import UserError

SIZES = {"alpha": range(17), "beta": range(8), "gamma": range(5)}
LATER = {"alpha": [*range(3, 17), *range(100, 160)], "beta": range(1, 9), "gamma": [0, 2, 4, 6]}
LAST = {"alpha": [*range(3, 12), *range(110, 170)], "gamma": [0, 1, 2, 6], "delta": range(6)}


def write(root: Path, sizes: dict) -> None:
    for hospital, numbers in sizes.items():
        (root / hospital).mkdir(parents=True, exist_ok=True)
        patients = pd.DataFrame({"patient_id": [f"{hospital}{number}" for number in numbers]})
        patients.assign(idh=0).to_csv(root / hospital / "patients.csv", index=False)
        patients.assign(age=60).to_csv(root / hospital / "record.csv", index=False)
    dictionary = {"genes": ["TP53"], "record": [{"name": "age", "kind": "continuous"}], "labels": ["idh"]}
    declared = {"name": "own", "synthetic": True, "description": "Made by a test.", "hospitals": list(sizes)}
    (root / "cohort.yaml").write_text(yaml.safe_dump({**declared, "dictionary": dictionary}))


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    """The same cohort as first prepared, and after it grew once and twice."""
    root = tmp_path_factory.mktemp("places")
    write(root / "sites", SIZES)
    pack(root / "sites", root / "out")
    cohorts = [Cohort(root / "out")]
    for sizes in (LATER, LAST):
        write(root / "sites", sizes)
        assert grow(root / "sites", root / "out", read_declaration(root / "sites")) is not None
        cohorts.append(Cohort(root / "out"))
    return cohorts


def parts_of(drawn: Split) -> dict[str, str]:
    return {patient: name for name in PARTS for patient in getattr(drawn, name)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.9), st.sets(st.sampled_from(["alpha", "gamma"])), st.integers(0, 2))
def test_everybody_stays_in_their_part(cohorts, seed, fraction, held_out, fold):
    by_hospital = [parts_of(split(cohort, sorted(held_out), fraction, seed)) for cohort in cohorts]
    by_fold = [parts_of(split_folds(cohort, 3, fold, None, fraction, seed)) for cohort in cohorts]
    for each in (by_hospital, by_fold):
        for cohort, parts in zip(cohorts, each, strict=True):
            assert parts.keys() == set(cohort.patients.index)
        # those who left and came back go by the rule for who comes later
        for before, after in ((each[0], each[1]), (each[1], each[2])):
            assert all(after[patient] == part for patient, part in before.items() if patient in after)
    tested = cohorts[2].patients["hospital"].isin(held_out)
    assert {patient for patient, part in by_hospital[2].items() if part == "test"} == set(tested.index[tested])


def test_a_grown_cohort_without_its_places_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sites", SIZES)
    pack(tmp_path / "sites", tmp_path / "out")
    write(tmp_path / "sites", LATER)
    declaration = read_declaration(tmp_path / "sites")
    grow(tmp_path / "sites", tmp_path / "out", declaration)
    (tmp_path / "out/places.parquet").unlink()
    with pytest.raises(UserError, match=r"places\.parquet: missing, though the cohort has grown; restore it: splits"):
        Cohort(tmp_path / "out")
    write(tmp_path / "sites", LAST)
    with pytest.raises(UserError, match=r"places\.parquet: missing"):
        grow(tmp_path / "sites", tmp_path / "out", read_declaration(tmp_path / "sites"))


def test_each_patient_is_tested_in_one_fold(cohorts):
    tested = [patient for fold in range(3) for patient in split_folds(cohorts[2], 3, fold, None, 0.2, 7).test]
    assert sorted(tested) == sorted(cohorts[2].patients.index)


def test_the_share_of_later_patients_is_about_that_asked_for(cohorts):
    parts = parts_of(split(cohorts[2], [], 0.25, 0))
    later = [parts[f"alpha{number}"] for number in range(110, 170)]
    assert 8 <= later.count("validation") <= 22  # of 60, at 0.25: three standard deviations about 15


def test_folds_by_label_of_a_grown_cohort_are_refused(cohorts):
    with pytest.raises(UserError, match=r"data\.stratify: own has grown, .*data\.split_file"):
        split_folds(cohorts[1], 3, 0, "idh", 0.2, 0)
