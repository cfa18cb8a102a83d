"""Whose a file is: labels and folders decide, and a name that holds two patients' ids is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.data.file_owners import FileOwners
from foundation.data.problems import DataError

NAMED = ["P1", "P12", "TCGA-02-0001", "TCGA-02-0001-B", "7"]
KNOWN = [*NAMED, "01", "02", "03"]


def owner(name: str, patients: list[str] | set[str], beside: list[str] | None = None, **options: str) -> str | None:
    """The patient; None where the name holds none."""
    owners = FileOwners(patients, [Path(other) for other in [name, *(beside or [])]], **options)
    try:
        return owners.of(Path("/site") / name, Path(name))
    except DataError as error:
        assert "names no patient of the patients' table" in str(error)
        return None


def refused(name: str, patients: list[str], beside: list[str] | None = None) -> str:
    owners = FileOwners(patients, [Path(other) for other in [name, *(beside or [])]])
    with pytest.raises(DataError) as error:
        owners.of(Path("/site") / name, Path(name))
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("P1.txt", "P1"),
        ("P12.txt", "P12"),
        ("P1_2020.txt", "P1"),
        ("P13.txt", None),
        ("XP1.txt", None),
        ("report P12 final.txt", "P12"),
        ("TCGA-02-0001.txt", "TCGA-02-0001"),
        ("TCGA-02-0001-B.txt", "TCGA-02-0001-B"),
        ("TCGA-02-0001-Baseline.txt", "TCGA-02-0001"),
        ("tcga-02-0001.txt", None),
        ("P1/macro.txt", "P1"),
        ("P12/07.txt", "P12"),
        ("P1/P1_b.txt", "P1"),
        ("7", "7"),
    ],
)
def test_a_file_is_its_longest_patients(name, patient):
    assert owner(name, NAMED) == patient


@given(st.sets(st.from_regex(r"[A-Z]{1,2}[0-9]{1,3}", fullmatch=True), min_size=1), st.sampled_from("-_ ."))
def test_an_id_of_its_own_is_always_found(patients, mark):
    for patient in patients:
        assert owner(f"{patient}{mark}x.txt", patients) == patient


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("sub-01/ses-02/anat/sub-01_ses-02_run-03_T1w.nii.gz", "01"),
        ("sub-03/func/sub-03_task-rest_run-01_bold.nii.gz", "03"),
        ("sub-01_ses-02_T1w.nii.gz", "01"),
        ("01_ses-02_acq-03_T1w.nii.gz", "01"),  # what BIDS says of sessions and runs is no patient
        ("sub-99_ses-01_T1w.nii.gz", None),  # another subject, whose session is called as a patient
        ("sub-99/ses-01/anat/T1w.nii.gz", None),
        ("patient_03_slice_01.png", "03"),
        ("Patient 02/IM 03.png", "02"),
        ("subject02_block01.png", "02"),
        ("patient_99_slice_01.png", None),
        ("patient_scans/01.png", "01"),  # the word is no label here
        ("subset/P1.png", "P1"),
    ],
)
def test_the_ids_own_label_decides(name, patient):
    assert owner(name, KNOWN) == patient


def test_ids_with_their_label_are_ids_too():
    assert owner("sub-01/ses-02/sub-01_ses-02_T1w.nii.gz", ["sub-01", "sub-02"]) == "sub-01"
    assert owner("case_00001/imaging.nii.gz", ["case_00000", "case_00001"]) == "case_00001"


@pytest.mark.parametrize(
    "name",
    [
        "01_slice_02.png",
        "P1_P12.png",
        "block 2/01-03.png",
        "sub-01/anat/sub-02_T1w.nii.gz",
        "patient_01_patient_02.png",
        "P1/P12.txt",
        "01/02.png",
        "1/13_1.png",
    ],
)
def test_two_ids_in_one_name_are_refused(name):
    line = refused(name, [*KNOWN, "1", "13"])
    assert line.startswith(f"/site/{name}: field patient_id: names two patients, ")
    assert "declare key_pattern under sources, or list the files in a table" in line


def test_a_folder_with_which_the_name_begins_decides():
    assert owner("03/03_slice_01.png", KNOWN) == "03"
    assert owner("P1/P1-block-7.png", KNOWN) == "P1"


def test_folders_whose_files_are_numbered_alike_decide_and_it_is_noted():
    names = [f"{patient}/{number}.png" for patient in ("01", "02") for number in ("01", "02", "03")]
    owners = FileOwners(KNOWN, map(Path, names))
    assert [owners.of(Path(name), Path(name)) for name in names] == ["01"] * 3 + ["02"] * 3
    assert [str(name) for name in owners.numbered] == ["01/02.png", "01/03.png", "02/01.png", "02/03.png"]


def test_folders_of_a_class_do_not_decide():
    """In `0/` and `1/` lie the images of two classes, each of which stands once."""
    names = ["0/2.png", "1/3.png", "0/4.png", "1/5.png"]
    assert owner("0/2.png", ["2", "3", "4", "5"], names) == "2"
    assert "names two patients, 1 and 3" in refused("1/3.png", ["1", "2", "3", "4", "5"], names)


def test_a_declared_pattern_decides_alone():
    assert owner("1/13_1.png", ["1", "13"], pattern=r"/(\d+)_") == "13"
    assert owner("a/P7/P1.png", KNOWN, pattern=r"P1\b") == "P1"
    owners = FileOwners(KNOWN, [], pattern=r"^x/(\d+)")
    with pytest.raises(DataError, match=r"field key_pattern: key_pattern \^x/\(\\d\+\) does not match"):
        owners.of(Path("y/1.png"), Path("y/1.png"))
