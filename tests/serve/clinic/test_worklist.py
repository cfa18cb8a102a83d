"""The worklist as a file: moves that hold the state they come from, and one service at a time."""

import sqlite3
from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.clinic.worklist import Worklist


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worklist.sqlite"


def test_only_its_owner_may_read_it(path: Path):
    Worklist(path, "toy")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_answer_that_is_half_written_is_none(path: Path):
    worklist = Worklist(path, "toy")
    worklist.ask("1.2", "P1")
    (row,) = worklist.ready(1, 1e12)
    with pytest.raises(sqlite3.IntegrityError):  # the second document has no content: the first goes, too
        worklist.answered(row, {}, {"1.2.3": b"x", "1.2.4": None})  # type: ignore[dict-item]
    assert worklist.row(row.row).state == "asked" and worklist.outputs(row) == {}


def test_a_move_from_a_state_that_is_past_is_refused(path: Path):
    worklist = Worklist(path, "toy")
    worklist.ask("1.2", "P1")
    (row,) = worklist.ready(1, 1e12)
    worklist.answered(row, {"a": 1}, {"1.2.3": b"x"})
    with pytest.raises(RuntimeError, match="row 1 is not asked any more"):
        worklist.answered(row, {"a": 2}, {"1.2.3": b"y"})
    assert (worklist.answer("1.2"), worklist.outputs(row)) == ({"a": 1}, {"1.2.3": b"x"})
    worklist.stored(worklist.row(1))
    assert worklist.outputs(row) == {} and worklist.answer("1.2") == {"a": 1}


def test_what_was_tried_most_comes_last_and_what_is_answered_first(path: Path):
    worklist = Worklist(path, "toy")
    for study in ("1.1", "1.2", "1.3"):
        worklist.ask(study, "P1")
    first, second, third = worklist.ready(3, 1e12)
    worklist.begin(first)
    worklist.answered(third, {}, {})
    worklist.put_off(second, until=2e12)
    assert [row.study for row in worklist.ready(3, 1e12)] == ["1.3", "1.1"]


def test_a_list_of_another_model_is_refused(path: Path):
    Worklist(path, "toy").close()
    with pytest.raises(UserError, match="is of the model toy, not of other; give another output"):
        Worklist(path, "other")


def test_a_file_that_is_no_worklist_is_refused(path: Path):
    path.write_bytes(b"no database at all, but long enough to look like one" * 30)
    with pytest.raises(UserError, match="no worklist of this release; move it away"):
        Worklist(path, "toy")


def test_two_services_never_work_on_one_list(path: Path):
    first, second = Worklist(path, "toy"), Worklist(path, "toy")
    with first.alone(), pytest.raises(UserError, match="another service works on it"), second.alone():
        pass
    with second.alone():
        pass


def test_a_study_is_asked_again_only_where_it_was_refused(path: Path):
    worklist = Worklist(path, "toy")
    worklist.ask_again("1.2", "P1")
    with pytest.raises(UserError, match="^patient: the study waits as another patient's"):
        worklist.ask_again("1.2", "P2")
    worklist.refused(worklist.row(1), "PatientID: another's; mend it")
    worklist.ask_again("1.2", "P2")
    assert (worklist.row(1).patient, worklist.row(1).state, worklist.row(1).line) == ("P2", "asked", "")
    worklist.answered(worklist.row(1), {}, {})
    with pytest.raises(UserError, match="^study: it was answered already"):
        worklist.ask_again("1.2", "P2")
