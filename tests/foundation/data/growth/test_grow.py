"""A cohort that grows holds what preparing its folders anew holds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.grow import grow
from foundation.data.growth import state, survey
from foundation.data.pack import pack
from foundation.data.problems import Problems
from tests.foundation.data.growth.folders import (
    DECLARED,
    Edit,
    changed_cells,
    changed_image,
    date_of_the_landmark,
    dismiss,
    edit,
    everything,
    first_of_a_modality,
    hospital_joins,
    hospital_leaves,
    left,
    listed,
    moved,
    new_patients,
    table_by_gene,
    table_gone,
    with_cell,
)


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(row) for row in value.rows(slice(None))] if hasattr(value, "rows") else np.asarray(value).tolist()


def same(one: Path, other: Path) -> None:
    """Every patient of two prepared cohorts has the same, in the same order, and files without images are the same."""
    left, right = Cohort(one), Cohort(other)
    assert left.hospitals == right.hospitals
    assert left.dictionary == right.dictionary
    starts = [name for name in left.patients if name.endswith("_start")]
    pd.testing.assert_frame_equal(left.patients.drop(columns=starts), right.patients.drop(columns=starts))
    for patient in left.patients.index:
        np.testing.assert_equal(plain(left.sample(patient)), plain(right.sample(patient)))
    for path in one.rglob("*.npy"):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()


COUNTS = {
    new_patients: (2, 0, 0),
    changed_cells: (0, 3, 0),
    changed_image: (0, 1, 0),
    table_gone: (0, 5, 0),
    table_by_gene: (0, 5, 0),
    left: (0, 0, 2),
    listed: (0, 0, 2),
    moved: (1, 0, 1),
    first_of_a_modality: (0, 1, 0),
    hospital_joins: (3, 0, 0),
    hospital_leaves: (0, 0, 5),
    everything: (5, 2, 2),
}


@pytest.mark.parametrize("change", COUNTS)
def test_a_grown_cohort_holds_what_its_folders_prepared_anew_hold(
    change: Edit, sites: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(sites)
    packed = grow(sites, prepared, read_declaration(sites))
    assert packed is not None
    assert tuple(packed["grown"].values()) == COUNTS[change]
    assert packed["read_whole"] is None
    anew = pack(sites, tmp_path / "anew")
    assert packed["found"] == anew["found"]
    assert packed["characteristics"] == anew["characteristics"]
    same(prepared, tmp_path / "anew")
    monkeypatch.setattr(survey, "validate", None)  # nothing is read whole
    assert grow(sites, prepared, read_declaration(sites)) is None


def test_an_earlier_landmark_takes_what_came_after_it_out(sites: Path, tmp_path: Path) -> None:
    date_of_the_landmark(sites)
    pack(sites, tmp_path / "out")
    edit(sites / "alpha/patients.csv", with_cell("a2", "on", "2020-01-01"))
    packed = grow(sites, tmp_path / "out", read_declaration(sites))
    assert packed is not None
    assert packed["grown"] == {"new": 0, "changed": 1, "withdrawn": 0}
    assert "record" not in Cohort(tmp_path / "out").sample("a2")
    pack(sites, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")


def test_hospitals_of_a_column_grow_too(sites: Path, tmp_path: Path) -> None:
    root = tmp_path / "one"
    shutil.copytree(sites / "alpha", root)
    declared = {**DECLARED, "hospitals": {"column": "clinic"}, "withdrawn": None}
    (root / "cohort.yaml").write_text(yaml.safe_dump(declared))

    def at(clinic: Callable[[str], str]) -> None:
        edit(root / "patients.csv", lambda rows: [row | {"clinic": clinic(row["patient_id"])} for row in rows])

    at(lambda patient: "north" if patient in ("a1", "a2") else "south")
    pack(root, tmp_path / "out")
    dismiss(root, "a5")
    at(lambda patient: "north" if patient in ("a1", "a3") else "south")
    packed = grow(root, tmp_path / "out", read_declaration(root))
    assert packed is not None
    assert packed["grown"] == {"new": 2, "changed": 0, "withdrawn": 3}
    pack(root, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")


def test_hashed_ids_grow_under_the_same_key(sites: Path, tmp_path: Path) -> None:
    declared = {**DECLARED, "deidentify": {"ids": "hash", "key": "../site.key"}}
    (sites / "cohort.yaml").write_text(yaml.safe_dump(declared))
    pack(sites, tmp_path / "out")
    for change in (left, new_patients, listed):
        change(sites)
        grow(sites, tmp_path / "out", read_declaration(sites))
    pack(sites, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")
    names = pd.read_parquet(tmp_path / "out" / state.FILE)["patient"]
    assert all(name == "" or name.startswith("P-") for name in names)


def test_why_all_tables_are_read_names_the_file_and_no_patient() -> None:
    problems = Problems()
    assert survey._not_by_itself(problems) is None
    problems.error("alpha/labs.csv", "patient P7 stands twice", "keep one", field="patient", value="P7")
    said = "what changed has errors, or cannot be told by itself (alpha/labs.csv, patient)"
    assert survey._not_by_itself(problems) == said
