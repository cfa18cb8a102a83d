"""Feedback at a hospital: what is kept, what is counted once, alarms, the shadow, and what is taken out."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.errors import UserError
from foundation.files import write_bytes
from foundation.statistics.betting import BettingTable
from serve.feedback import store as store_module
from serve.feedback.__main__ import main
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.looks import Standing, look
from serve.feedback.store import Answer, Store
from tests.serve.feedback import releases
from tests.serve.feedback.releases import VERSION, at_hospital

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs an action in this process: exit code, stdout, stderr."""

    def called(action: str, *settings: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["python -m serve.feedback", action, *settings])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        try:
            main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capsys.readouterr()

    return called


def ask(store: Store, quarter: str, count: int, seed: int, shift: float = 0.0, **facts: Any) -> list[str]:
    """Answers about drawn patients, whose outcomes come at once."""
    patients = [f"{quarter}-{number}" for number in range(count)]
    chance, label = releases.drawn(count, seed, shift)
    flags, shadow = facts.get("flags", {"report": False}), facts.get("shadow", False)
    store.keep(
        [Answer(p, VERSION, {"positive": c}, flags, False) for p, c in zip(patients, chance, strict=True)],
        quarter,
        shadow,
    )
    store.add_outcomes([(p, "positive", int(y)) for p, y in zip(patients, label, strict=True)], quarter)
    return patients


def alarmed(standing: list[Standing]) -> set[str]:
    return {one.test for one in standing if one.alarm is not None}


def test_bounds_follow_from_the_evaluation_and_the_margins(declared: Declared, tmp_path: Path) -> None:
    table = pd.read_parquet(tmp_path / "release/predictions.parquet")
    brier = float(((table["probability"] - table["label"]) ** 2).mean())
    assert brier + 0.01 < declared.brier["positive"] < brier + 0.05
    assert (declared.outputs, declared.classes) == (["positive"], ["negative", "positive"])
    # Clopper-Pearson of 10 and of 4 in 200 (scipy.stats.binomtest), and the margin of 0.02.
    assert declared.abstained == pytest.approx(0.0900 + 0.02, abs=1e-3)
    assert declared.flagged == {"report": pytest.approx(0.0504 + 0.02, abs=1e-3)}
    assert len(declared.tests()) == 5 and declared.level_of_each == pytest.approx(0.01)


def test_whole_releases_raise_an_alarm_as_seldom_as_declared(declared: Declared) -> None:
    """Eight quarters of forty patients at the very bounds, many times over, through the tests that a look does."""
    from serve.feedback.looks import tested

    rng, streams, alarms = np.random.default_rng(0), 300, 0
    for _ in range(streams):
        looks = {}
        for quarter in range(8):
            values = {name: (rng.random(40) < bound).astype(float) for name, bound in declared.tests().items()}
            tables = {name: BettingTable.from_patients(values[name], b) for name, b in declared.tests().items()}
            looks[f"2027-Q{quarter}"] = tables
        alarms += bool(alarmed(tested(declared, looks)))
    assert alarms / streams <= 0.05


def test_a_model_that_holds_raises_none_and_one_that_does_not_is_named(declared: Declared, tmp_path: Path) -> None:
    store, ledger = at_hospital(tmp_path / "calm", declared)
    for number in range(1, 5):
        ask(store, f"2027-Q{number}", 60, number)
        assert not alarmed(look(store, ledger, VERSION, f"2027-Q{number}", 50))
    store, ledger = at_hospital(tmp_path / "shifted", declared)
    for number in range(1, 5):
        ask(store, f"2027-Q{number}", 60, number, 0.0 if number < 3 else 0.4)
        standing = look(store, ledger, VERSION, f"2027-Q{number}", 50)
    assert "outcomes above chances/positive" in alarmed(standing)
    assert "outcomes below chances/positive" not in alarmed(standing)
    assert set(ledger.alarms(VERSION).values()) <= {"2027-Q3", "2027-Q4"}


def test_a_scanner_that_changed_is_an_alarm_of_its_modality(declared: Declared, tmp_path: Path) -> None:
    store, ledger = at_hospital(tmp_path / "own", declared)
    ask(store, "2027-Q1", 60, 1)
    look(store, ledger, VERSION, "2027-Q1", 50)
    ask(store, "2027-Q2", 60, 2, flags={"report": True})
    assert alarmed(look(store, ledger, VERSION, "2027-Q2", 50)) == {"out of distribution/report"}


def test_each_outcome_is_counted_once_however_often_one_looks(declared: Declared, tmp_path: Path) -> None:
    store, ledger = at_hospital(tmp_path / "own", declared)
    ask(store, "2027-Q1", 40, 1)
    first = look(store, ledger, VERSION, "2027-Q1", 50)
    again = look(store, ledger, VERSION, "2027-Q1", 50)
    assert [one.patients for one in first] == [one.patients for one in again] == [40] * 5
    assert [one.p for one in first] == pytest.approx([one.p for one in again])


def test_a_look_that_was_cut_short_is_done_again(
    declared: Declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ledger = at_hospital(tmp_path / "own", declared)
    ask(store, "2027-Q1", 40, 1)
    with monkeypatch.context() as patch:
        patch.setattr(FeedbackLedger, "note", lambda *_, **__: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            look(store, ledger, VERSION, "2027-Q1", 50)
    assert {one.patients for one in look(store, ledger, VERSION, "2027-Q1", 50)} == {40}


def test_only_first_answers_before_the_outcome_are_kept(declared: Declared, tmp_path: Path) -> None:
    store, _ = at_hospital(tmp_path / "own", declared)
    answer = Answer("anna", VERSION, {"positive": 0.9}, {}, False)
    assert store.keep([answer], "2027-Q1", False) == {"kept": 1}
    assert store.keep([Answer("anna", VERSION, {"positive": 0.1}, {}, False)], "2027-Q1", False) == {"repeated": 1}
    assert store.add_outcomes([("anna", "positive", 1), ("ben", "positive", 1)], "2027-Q2") == {
        "new": 1,
        "nobody asked": 1,
    }
    assert store.keep([Answer("anna", "later", {"positive": 1.0}, {}, False)], "2027-Q3", False) == {"late": 1}
    assert store.judged(VERSION)["chance"].tolist() == [0.9]
    assert store.add_outcomes([("anna", "positive", 1)], "2027-Q3") == {"known": 1}
    assert store.add_outcomes([("anna", "positive", 0)], "2027-Q3") == {"corrected": 1}
    assert store.judged(VERSION)["value"].tolist() == [0]


def test_a_class_that_is_called_by_a_number_is_no_place(declared: Declared) -> None:
    grades = declared.model_copy(update={"outputs": ["1", "2", "3"], "classes": ["1", "2", "3"]})
    assert grades.outcomes({"grade": "1"}) == grades.outcomes({"grade": "1.0"}) == {"1": 1, "2": 0, "3": 0}
    with pytest.raises(UserError, match="a value is none of 1, 2, 3"):
        grades.outcomes({"grade": "0"})
    assert declared.outcomes({"marker": "1"}) == declared.outcomes({"marker": "positive"}) == {"positive": 1}


def test_no_file_names_a_patient_and_who_withdrew_is_in_none_by_any_name(declared: Declared, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    store, ledger = at_hospital(folder, declared)
    patients = ask(store, "2027-Q1", 40, 1)
    look(store, ledger, VERSION, "2027-Q1", 50)
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not [one for one in patients if one.encode() in everything]
    assert store.name_of(patients[3]).encode() in everything
    assert store.forget([patients[3], "nobody"]) == 1
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert store.name_of(patients[3]).encode() not in everything
    assert store.name_of(patients[4]).encode() in everything
    assert {one.patients for one in look(store, ledger, VERSION, "2027-Q2", 50)} == {40}, "what was bet on stays"


def test_processes_that_begin_at_a_time_share_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(path: Path, content: bytes, mode: int | None = None) -> None:
        with monkeypatch.context() as patch:  # another process makes its key in the meantime
            patch.setattr(store_module, "write_bytes", write_bytes)
            others.append(Store(tmp_path))
        write_bytes(path, content, mode)

    others: list[Store] = []
    monkeypatch.setattr(store_module, "write_bytes", later)
    assert Store(tmp_path).name_of("anna") == others[0].name_of("anna")
    assert (tmp_path / "feedback.key").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".feedback.key*"))


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    Store(tmp_path)
    (tmp_path / "feedback.key").write_bytes(b"")
    with pytest.raises(UserError, match="feedback.key: found 0 bytes, not 32; restore it"):
        Store(tmp_path)


@pytest.mark.parametrize(("count", "shift", "cleared"), [(30, 0.0, False), (120, 0.0, True), (120, 0.5, False)])
def test_a_shadow_is_cleared_by_enough_outcomes_within_the_bounds(
    count: int, shift: float, cleared: bool, declared: Declared, tmp_path: Path
) -> None:
    wide = declared.model_copy(update={"brier": {"positive": 0.3}})
    store, ledger = at_hospital(tmp_path / "own", wide)
    ask(store, "2027-Q1", count, 3, shift, shadow=True)
    look(store, ledger, VERSION, "2027-Q1", 50)
    assert ledger.is_cleared(VERSION) is cleared


def test_bounds_are_declared_once_and_looks_go_forward(declared: Declared, tmp_path: Path) -> None:
    store, ledger = at_hospital(tmp_path / "own", declared)
    assert ledger.declare(declared) is False
    with pytest.raises(UserError, match="declared with other bounds"):
        ledger.declare(declared.model_copy(update={"level": 0.5}))
    look(store, ledger, VERSION, "2027-Q2", 50)
    with pytest.raises(UserError, match="2027-Q1 is before 2027-Q2"):
        look(store, ledger, VERSION, "2027-Q1", 50)
    with pytest.raises(UserError, match="version other was not declared here; it knows abcdef123456"):
        ledger.of_version("other")


def test_the_commands_take_answers_and_outcomes_and_tell_an_alarm(run: Run, tmp_path: Path) -> None:
    releases.release(tmp_path / "release")
    assert run("declare", "bundle=release")[0] == 0
    patients = [f"p{number}" for number in range(150)]
    chance, label = releases.drawn(150, 5)
    releases.answers(tmp_path / "answers.jsonl", patients, chance)
    releases.outcomes(tmp_path / "outcomes.csv", patients[:140], 1 - label[:140])  # the column was inverted
    code, out, _ = run("keep", "answers=answers.jsonl", "quarter=2027-Q1")
    assert (code, out.splitlines()[-1]) == (0, "2027-Q1: 150 kept")
    code, out, _ = run("outcomes", "table=outcomes.csv", "column=biomarker", "quarter=2027-Q1")
    assert (code, out.splitlines()[-1]) == (0, "2027-Q1: 140 new")
    code, out, _ = run("look", "quarter=2027-Q1", "output=page")
    assert code == 1 and "**Alarm since 2027-Q1: squared error, positive.**" in out
    assert re.search(r"\| 2027-Q1 \| positive \| 150 \| 140 \| 0\.\d{3} \(0", out)
    content = json.loads((tmp_path / "page/feedback.json").read_text())
    assert content["figures"][0]["figures"]["Brier score"]["n"] == 140
    (tmp_path / "ids.txt").write_text("p0\n\np1\nnobody\n")
    assert run("forget", "table=ids.txt")[1].splitlines()[-1] == "2 patients were taken out"


@pytest.mark.parametrize(
    ("action", "settings", "line"),
    [
        ("keep", ["answers=lines.jsonl"], "answers: lines.jsonl: line 1 is no answer of python -m serve.batch"),
        ("keep", [], "answers: not given; say answers=... (see python -m serve.feedback --help)"),
        ("look", ["quarter=2027-5"], "quarter: found '2027-5'; give one such as 2027-Q3"),
        ("outcomes", ["table=table.csv"], "column: not given; say which column of the table holds the class"),
        ("outcomes", ["table=table.csv", "column=x"], "table: table.csv: no column 'x'; give patient_id and x"),
        (
            "outcomes",
            ["table=table.csv", "column=y"],
            "table: table.csv: row 2: y: a value is none of negative, positive, nor their place from 0",
        ),
        ("declare", ["bundle=release", "false_alarms=2"], "false_alarms: found 2; give a chance above 0 and below 1"),
        ("look", ["folder=elsewhere"], "elsewhere: no release was declared; python -m serve.feedback declare"),
    ],
)
def test_what_cannot_be_is_one_line(action: str, settings: list[str], line: str, run: Run, tmp_path: Path) -> None:
    releases.release(tmp_path / "release")
    run("declare", "bundle=release")
    (tmp_path / "lines.jsonl").write_text('{"patient": 1}\n')
    (tmp_path / "table.csv").write_text("patient_id,y\na,maybe\n")
    code, _, err = run(action, *settings)
    assert code == 2 and err.splitlines()[-1].startswith(f"error: {line}")
    assert "maybe" not in err
