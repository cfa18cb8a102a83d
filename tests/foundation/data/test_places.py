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
from foundation.data.splits import PARTS, Split, configured_split, split, split_folds
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
        for before, after in ((each[0], each[1]), (each[1], each[2]), (each[0], each[2])):
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


def write_moves(root: Path, patients: dict[str, list[str]]) -> None:
    write(root, {"alpha": [], "beta": []})
    for hospital, names in patients.items():
        for file, column in (("patients.csv", "idh"), ("record.csv", "age")):
            pd.DataFrame({"patient_id": names, column: 1}).to_csv(root / hospital / file, index=False)


def test_whoever_returns_or_changes_hospital_keeps_the_part(tmp_path: Path) -> None:
    alpha, beta, later = ([f"{letter}{number}" for number in range(10, 40)] for letter in "abl")
    steps = [
        {"alpha": alpha, "beta": beta},
        {"alpha": alpha[10:], "beta": [*beta, *later]},
        {"alpha": [*alpha[:5], *alpha[15:], *later], "beta": [*beta, *alpha[5:15]]},
    ]
    before: list[dict[str, str]] = []
    for number, step in enumerate(steps):
        write_moves(tmp_path / "sites", step)
        pack(tmp_path / "sites", tmp_path / "out") if number == 0 else grow(
            tmp_path / "sites", tmp_path / "out", read_declaration(tmp_path / "sites")
        )
        cohort = Cohort(tmp_path / "out")
        drawn = [split(cohort, [], 0.5, 3), *(split_folds(cohort, 3, fold, None, 0.5, 3) for fold in range(3))]
        after = [parts_of(one) for one in drawn]
        assert all(parts.keys() == set(cohort.patients.index) for parts in after)
        for name in ("alpha", "beta"):  # a hospital alone has what it has among all
            alone = parts_of(split(Cohort(tmp_path / "out", [name]), [], 0.5, 3))
            assert alone == {one: after[0][one] for one in alone} and alone.keys() == set(step[name])
        for first, now in zip(before, after, strict=False):
            assert all(first[patient] == part for patient, part in now.items() if patient in first)
        before = [{**now, **first} for first, now in zip(before or [{}] * 4, after, strict=True)]
    held_out = split(cohort, ["beta"], 0.5, 3)
    assert set(steps[2]["beta"]) <= set(held_out.test)
    assert set(later) <= set(held_out.test)  # they were tested there before they went to alpha


def test_validation_drawn_from_a_files_train_is_that_of_the_pooled_cohort_though_some_moved(tmp_path: Path) -> None:
    alpha, beta = ([f"{letter}{number}" for number in range(10, 40)] for letter in "ab")
    write_moves(tmp_path / "sites", {"alpha": alpha, "beta": beta})
    pack(tmp_path / "sites", tmp_path / "out")
    rows = [f"{one},{'test' if place % 3 == 0 else 'train'}\n" for place, one in enumerate([*alpha, *beta])]
    (tmp_path / "parts.csv").write_text("patient_id,part\n" + "".join(rows))
    way = {"test_hospitals": [], "folds": 0, "validation_fraction": 0.5, "split_seed": 3}
    way["split_file"] = {"file": str(tmp_path / "parts.csv"), "validation": "drawn"}
    before = parts_of(configured_split(Cohort(tmp_path / "out"), way))
    write_moves(tmp_path / "sites", {"alpha": alpha[10:], "beta": [*beta, *alpha[:10]]})
    grow(tmp_path / "sites", tmp_path / "out", read_declaration(tmp_path / "sites"))
    assert parts_of(configured_split(Cohort(tmp_path / "out"), way)) == before
    for name, patients in (("alpha", alpha[10:]), ("beta", [*beta, *alpha[:10]])):
        alone = parts_of(configured_split(Cohort(tmp_path / "out", [name]), way))
        assert alone == {one: before[one] for one in patients}
    write_moves(tmp_path / "sites", {"alpha": alpha[10:], "beta": beta})
    grow(tmp_path / "sites", tmp_path / "out", read_declaration(tmp_path / "sites"))
    (tmp_path / "parts.csv").write_text("patient_id,part\n" + "".join(rows[10:]))
    with pytest.raises(UserError, match="split_file: patients have left own, and drawing others"):
        configured_split(Cohort(tmp_path / "out", ["alpha"]), way)


def test_no_file_of_a_grown_cohort_names_who_left(tmp_path: Path) -> None:
    write(tmp_path / "sites", SIZES)
    pack(tmp_path / "sites", tmp_path / "out")
    write(tmp_path / "sites", LATER)
    grow(tmp_path / "sites", tmp_path / "out", read_declaration(tmp_path / "sites"))
    tables = [pd.read_parquet(path).reset_index().astype(str) for path in (tmp_path / "out").rglob("*.parquet")]
    words = {word for table in tables for word in table.to_numpy().ravel()}
    assert "gamma2" in words and "gamma1" not in words
    assert not any(b"gamma1" in path.read_bytes() for path in (tmp_path / "out").rglob("*.json"))


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
