"""Who trained a run and what it builds on, and which test patients are known to it."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.lineage import FILE, NOTE, note_of, said_first, seen_by, site_list, trained_on
from foundation.patient_list import write_patients
from foundation.run_record import RunRecord

TEST = {"p7": "05", "p8": "05", "p9": "44"}


def train(
    folder: Path, command: str, patients: list[str], hospitals: list[str], *parents: Path, validation: str = "v1"
) -> Path:
    with RunRecord.open(folder, f"python -m {command}", {}, 0, parents) as record:
        record.note(NOTE, note_of(folder, patients, [validation], hospitals))
    return folder


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    with RunRecord.open(tmp_path / "data", "python -m foundation.data prepare", {}, 0):
        pass
    return tmp_path / "data"


def test_nobody_who_was_held_out_everywhere_is_seen(tmp_path: Path, cohort: Path):
    first = train(tmp_path / "p", "pretrain", ["p1", "p2"], ["55"], cohort)
    head = train(tmp_path / "f", "finetune", ["p1"], ["55"], first, cohort)
    assert seen_by(head, TEST, ["05"]) == ([], [])


@pytest.mark.parametrize(
    ("patients", "hospitals", "validation", "words"),
    [
        (["p7", "p8"], ["05"], "v1", "trained on 2 of 3 test patients (hospital 05)"),
        (["p1"], ["55", "44"], "p9", "trained on 1 of 3 test patients"),
        (["p1"], ["05"], "v1", "trained on other patients of hospital 05"),
    ],
)
def test_what_an_ancestor_saw_is_told_by_run(patients, hospitals, validation, words, tmp_path: Path, cohort: Path):
    first = train(tmp_path / "p", "pretrain", patients, hospitals, cohort, validation=validation)
    middle = train(tmp_path / "m", "finetune", ["p1"], ["55"], first, cohort)
    head = train(tmp_path / "f", "finetune", ["p1"], ["55"], middle, cohort)
    found, untold = seen_by(head, TEST, ["05"])
    assert [str(seen) for seen in found] == [f"{Path(*first.parts[-2:])} {words}"]
    assert untold == []


def test_the_record_holds_counts_and_a_list_that_was_changed_is_refused(tmp_path: Path, cohort: Path):
    run = train(tmp_path / "p", "pretrain", ["p7"], ["05"], cohort)
    assert "p7" not in (run / "run.json").read_text()
    path = run / FILE
    path.write_text(path.read_text().replace("p7", "p6"))
    with pytest.raises(UserError, match="changed since the run wrote it"):
        trained_on(run)
    path.unlink()
    with pytest.raises(UserError, match="missing; restore it"):
        trained_on(run)


def test_a_hospital_whose_list_stayed_there_is_not_held_out(tmp_path: Path, cohort: Path):
    run = tmp_path / "fed"
    with RunRecord.open(run, "python -m pretrain.federated", {}, 0, [cohort]) as record:
        record.note(NOTE, {"hospitals": ["05", "44"], "run": "name"})
    write_patients(site_list(run / "sites" / "44", "name"), ["p1"], ["p2"], ["44"])
    ((seen,), _) = seen_by(run, TEST, [])
    assert (seen.patients, seen.tested) == (2, 3), "everybody at 05, nobody at 44, whose list is here"


def test_what_nobody_can_tell_is_named(tmp_path: Path, cohort: Path):
    with RunRecord.open(tmp_path / "old", "python -m pretrain", {}, 0, [cohort]):
        pass
    head = train(tmp_path / "f", "finetune", ["p1"], ["55"], tmp_path / "old", cohort)
    assert seen_by(head, TEST, []) == ([], [f"{tmp_path.name}/old does not say whom it trained on"])
    bare = train(tmp_path / "b", "finetune", ["p1"], ["55"], cohort)
    assert seen_by(bare, TEST, []) == ([], [f"{tmp_path.name}/b started from an encoder without a run record"])


def test_hospitals_whose_patients_lie_elsewhere_are_refused_by_name_or_said_first(tmp_path: Path, cohort: Path):
    first = train(tmp_path / "p", "pretrain", ["p7"], ["05"], cohort)
    head = train(tmp_path / "f", "finetune", ["p1"], ["55"], first, cohort)
    known = f"{Path(*first.parts[-2:])} trained on patients of hospital 05"
    with pytest.raises(UserError, match=f"^test patients: {known}, so they are not held out; hold them out there"):
        said_first([head], None, ["05"], allow_seen=False)
    assert said_first([head], None, ["05"], allow_seen=True) == f"Seen in training, not held out: {known}."
    assert said_first([head], None, ["44"], allow_seen=False) == ""
