"""Files between steps that somebody edited by hand: what does not fit is one line that names the file."""

import json

import pytest

from foundation.data.dictionary import read_prepared
from foundation.data.splits import Split
from foundation.errors import UserError
from foundation.run_record import RunRecord, read_run, walk


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"builds_on": 3}, "builds_on: Input should be a valid list, found 3; run that step again"),
        ({"builds_on": [{"path": "x"}]}, "builds_on.0.digest: Field required"),
        ({"config": []}, "config: Input should be a valid dictionary"),
        ({"notes": "x"}, "notes: Input should be a valid dictionary, found 'x'"),
    ],
)
def test_an_edited_run_record_is_one_line(tmp_path, values, words):
    with RunRecord.open(tmp_path, "python -m finetune", {}, 0):
        pass
    edit(tmp_path / "run.json", **values)
    with pytest.raises(UserError, match=rf"run\.json: {words}"):
        read_run(tmp_path)


def test_a_run_record_without_its_ancestors_is_one_line(tmp_path):
    (tmp_path / "run.json").write_text('{"command": "python -m finetune"}')
    with pytest.raises(UserError, match="run.json: holds no 'builds_on'; run that step again"):
        walk(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hospitals": "north"}, "hospitals: Input should be a valid list"),
        ({"dictionary": {"genes": 3}}, "dictionary.genes: Input should be a valid list"),
        ({"name": None}, "name: Input should be a valid string"),
    ],
)
def test_an_edited_prepared_cohort_is_one_line(small_cohort, tmp_path, values, words):
    (tmp_path / "cohort.json").write_bytes((small_cohort / "cohort.json").read_bytes())
    edit(tmp_path / "cohort.json", **values)
    with pytest.raises(UserError, match=rf"cohort\.json: {words}.*; prepare the cohort again"):
        read_prepared(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": 3}, "train is no list of the cohort's patients"),
        ({"test": ["nobody"]}, "test is no list of the cohort's patients"),
        ({"cohort_digest": "other"}, "its cohort was prepared anew since"),
    ],
)
def test_an_edited_split_is_one_line(tmp_path, values, words):
    names = [f"p{place}" for place in range(9)]
    split, path = Split(names[:4], names[4:6], names[6:]), tmp_path / "split.json"
    split.save(path, "digest")
    assert Split.read(path, "digest", names) == split
    edit(path, **values)
    with pytest.raises(UserError, match=rf"split\.json: {words}; run python -m finetune again"):
        Split.read(path, "digest", names)


def test_a_split_of_what_a_cohort_was_is_without_those_who_left(tmp_path):
    split, path = Split(["a", "b"], ["c"], ["d", "e"]), tmp_path / "split.json"
    split.save(path, "before")
    assert Split.read(path, "now", ["a", "c", "d", "newcomer"], ["first", "before"]) == Split(["a"], ["c"], ["d"])
    with pytest.raises(UserError, match="its cohort was prepared anew since"):
        Split.read(path, "now", ["a", "c", "d"], ["first"])
