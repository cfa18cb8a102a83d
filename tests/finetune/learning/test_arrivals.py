"""`python -m finetune` on a cohort in which a hospital arrives, and one leaves."""

import shutil
from pathlib import Path

import hydra
import pandas as pd
import pytest

from finetune.__main__ import train_head
from finetune.learning.memory import Memory
from finetune.learning.start import doubts_of, patients_to_learn
from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.data.withdrawals import affected_by_withdrawal, blind_lists, remove_caches
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.lineage import NOTE, note_of, site_list
from foundation.patient_list import write_patients
from foundation.run_record import RunRecord
from tests.finetune.learning.conftest import QUICK
from tests.run_files import naming


@pytest.fixture
def train(cohort: Cohort, build, tmp_path: Path):
    """Trains the patients of some hospitals, whom a cohort of that day has."""
    build().encoder.save_pretrained(tmp_path / "encoder")

    def trained(name: str, hospitals: list[str], *settings: str, release: str = "encoder") -> Path:
        part = cohort.patients["hospital"].isin(hospitals).map({True: "train", False: "test"}).rename("part")
        for hospital in hospitals:  # the same at any time
            part[cohort.patients.index[cohort.patients["hospital"] == hospital][:4]] = "validation"
        part.rename_axis("patient_id").to_csv(tmp_path / f"{name}.csv")
        folders = [f"data.folder={cohort.folder}", f"output={tmp_path / name}", f"pretrained={tmp_path / release}"]
        split = [f"data.split_file={tmp_path / f'{name}.csv'}", "data.test_hospitals=[]", "progress=false"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            train_head(hydra.compose("finetune", [*QUICK, *folders, *split, *settings]))
        return tmp_path / name

    return trained


def test_a_hospital_that_arrives_is_added_to_the_sums_and_one_that_leaves_taken_off(train, cohort: Cohort):
    one, two = cohort.hospitals[:2]
    first = train("first", [one], "method=sums")
    second = train("second", [one, two], "method=sums", release="first")
    at_once = train("at_once", [one, two], "method=sums")
    third = train("third", [one], "method=sums", f"sums.forget=[{two}]", release="second")
    patients = {run: read_json(run / "sums.json", "")["patients"] for run in (first, second, at_once, third)}
    assert patients[first].keys() == {one} and patients[third] == patients[first]
    assert patients[second] == patients[at_once] and patients[second].keys() == {one, two}
    assert read_json(second / "trained_on.json", "")["hospitals"] == [two]
    back = train("back", [one, two], "method=sums", release="third")
    assert read_json(back / "sums.json", "")["patients"] == patients[second]


def test_sums_that_hold_who_left_are_refused_until_their_hospital_is_forgotten(train, cohort: Cohort):
    one, two = cohort.hospitals[:2]
    first = train("first", [one, two], "method=sums")
    learned = read_json(first / "trained_on.json", "")["train"]
    gone = next(each for each in learned if hospital_of(cohort, each) == two)
    later = Cohort(cohort.folder)
    later.patients = later.patients.drop(index=gone)
    parts = Split(later.patients.index.tolist(), [], [])
    with pytest.raises(
        UserError, match=rf"^pretrained: sums of .* hold patients of {two} who .*sums.forget=\[{two}\]$"
    ):
        patients_to_learn(later, parts, first)
    with pytest.raises(UserError, match=rf"hold patients of {two} who have left"):
        patients_to_learn(later, parts, first, [one])
    new = patients_to_learn(later, parts, first, [two]).train
    assert {hospital_of(cohort, each) for each in {*learned} & {*new}} == {two} and gone not in new


def test_who_is_new_to_a_release_whose_lists_lie_at_hospitals_is_not_guessed(cohort: Cohort, tmp_path: Path):
    one, two = cohort.hospitals[:2]
    with RunRecord.open(tmp_path / "run", "python -m finetune.federated", {}, 0) as record:
        record.note(NOTE, {"hospitals": [one], "run": "run-1"})
    everybody = Split(cohort.patients.index.tolist(), [], [])
    with pytest.raises(
        UserError, match=rf"^pretrained: whom of {one} .*run learned from stands in that hospital's own"
    ):
        patients_to_learn(cohort, everybody, tmp_path / "run")
    elsewhere = Split([each for each in everybody.train if hospital_of(cohort, each) == two], [], [])
    assert patients_to_learn(cohort, elsewhere, tmp_path / "run") == elsewhere
    write_patients(site_list(tmp_path / "run" / "sites" / one, "run-1"), everybody.train[:3], [], [one])
    assert patients_to_learn(cohort, everybody, tmp_path / "run").train == everybody.train[3:]


def test_information_of_who_left_and_a_release_without_a_list_are_warned_of(
    train, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one, two = cohort.hospitals[:2]
    first = train("first", [one], "frozen=true", "keeps.information=true", "steps=2")
    gone = read_json(first / "trained_on.json", "")["train"][0]
    assert doubts_of(cohort, first) == []
    later = Cohort(cohort.folder)
    later.patients = later.patients.drop(index=gone)
    (line,) = doubts_of(later, first)
    assert "keeps information of 1 patients who have left" in line and gone not in line
    record = read_json(first / "run.json", "")
    del record["notes"][NOTE]
    write_json(first / "run.json", record)
    train("second", [two], "frozen=true", "learning=sequential", "steps=2", release="first")
    assert "first does not say whom it trained on: all its patients count as new" in capsys.readouterr().out


def test_no_file_of_a_run_names_who_withdrew_since(train, cohort: Cohort, tmp_path: Path):
    first = train(
        "first", cohort.hospitals[:2], "frozen=true", "steps=2", f"embeddings={tmp_path / 'first/embeddings'}"
    )
    gone = [*read_json(first / "trained_on.json", "")["train"][:2], read_json(first / "split.json", "")["test"][0]]
    later = Cohort(cohort.folder)
    later.patients = later.patients.drop(index=gone)
    count, affected = affected_by_withdrawal(later, [first])
    assert {path.name for path in naming(first, gone)} > {"trained_on.json", "split.json"}
    remove_caches(affected)
    blind_lists(affected, later)
    assert naming(first, gone) == []
    assert [(one.run, one.patients) for one in affected_by_withdrawal(later, [first])[1]] == [(first.resolve(), 2)]
    assert count == 3


def hospital_of(cohort: Cohort, patient: str) -> str:
    return str(cohort.patients.loc[patient, "hospital"])


def test_fewer_newcomers_of_a_hospital_than_a_sum_may_be_of_wait_for_a_later_run(
    train, cohort: Cohort, capsys: pytest.CaptureFixture[str]
):
    one, two = cohort.hospitals[:2]
    first = train("first", [one], "method=sums")
    late = read_json(first / "trained_on.json", "")["train"][:3]
    counts = read_json(first / "sums.json", "")["patients"]
    content = read_json(first / "trained_on.json", "")
    content["train"] = [patient for patient in content["train"] if patient not in late]
    record = read_json(first / "run.json", "")
    record["notes"][NOTE]["digest"] = write_patients(first / "trained_on.json", **content)
    write_json(first / "run.json", record)
    second = train("second", [one, two], "method=sums", release="first")
    assert f"warning: sums.fewest: 3 new patients of {one} wait for a later run" in capsys.readouterr().out
    assert read_json(second / "trained_on.json", "")["hospitals"] == [two]
    assert read_json(second / "sums.json", "")["patients"][one] == counts[one]
    third = train("third", [one], "method=sums", "sums.fewest=3", release="second")
    assert read_json(third / "trained_on.json", "")["train"] == late


def test_who_trained_the_encoder_alone_is_new_to_a_head(train, cohort: Cohort, tmp_path: Path):
    one, two = cohort.hospitals[:2]
    with RunRecord.open(tmp_path / "pretrained", "python -m pretrain", {}, 0) as record:
        everybody = cohort.patients.index.tolist()
        record.note(NOTE, note_of(tmp_path / "pretrained", everybody, [], cohort.hospitals))
    shutil.copytree(tmp_path / "encoder", tmp_path / "pretrained" / "encoder")
    train("first", [one], "method=sums", release="pretrained")
    second = train("second", [one, two], "method=sums", release="first")
    assert read_json(second / "sums.json", "")["patients"].keys() == {one, two}
    assert read_json(second / "trained_on.json", "")["hospitals"] == [two]


def test_only_who_is_new_is_learned_from_and_a_memory_that_names_who_left_is_told(train, cohort: Cohort):
    one, two = cohort.hospitals[:2]
    train("first", [one], "frozen=true", "keeps.memory=20", "steps=2")
    second = train(
        "second", [one, two], "frozen=true", "learning=replay", "keeps.memory=20", "steps=2", release="first"
    )
    learned = read_json(second / "trained_on.json", "")
    assert set(cohort.patients.loc[learned["train"], "hospital"]) == {two}
    assert set(pd.read_csv(second.parent / "second.csv").query("part == 'train'")["patient_id"]) > set(learned["train"])
    remembered = Memory.read(second).patients
    assert set(cohort.patients.loc[remembered, "hospital"]) == {one, two}
    later = Cohort(cohort.folder)
    later.patients = later.patients.drop(index=remembered[0])
    _, affected = affected_by_withdrawal(later, [second.parent])
    assert second / "memory" / "rows.json" in [path for run in affected for path in run.files]
    parts = Split(later.patients.index.tolist(), [], [])
    with pytest.raises(UserError, match=r"^pretrained: .*second remembers 1 patients who have left"):
        patients_to_learn(later, parts, second)
    assert set(patients_to_learn(cohort, parts, second).train).isdisjoint(learned["train"])


def test_a_release_is_asked_for_by_name(train, cohort: Cohort):
    with pytest.raises(
        UserError, match=r"^pretrained: .* holds no task model to go on from; give one, or set learning=null$"
    ):
        train("second", cohort.hospitals[:1], "learning=pull")
