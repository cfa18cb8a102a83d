"""What names and values say, held against the declaration: each is warned of with what to write."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.heads.survival import Survival
from foundation.modalities.genomics.extremes import without_extremes
from foundation.modalities.record.encoder import Record
from tests.foundation.data.test_newcomer import checked, lines, told, write

SURVIVAL = {"event": "os_event", "time": "os_days"}


def with_survival(root: Path, event: str, months: str) -> Path:
    rows = "".join(f"p{number},{number % 2},{number + 0.5}\n" for number in range(4))
    columns = {"os_event": event, "os_days": months}
    sources = {"patients": {"file": "t.csv", "columns": columns}}
    text = f"patient_id,{event},{months}\n{rows}"
    return write(root, {"a/t.csv": text}, sources=sources, dictionary={"survival": SURVIVAL})


def test_an_event_named_after_its_opposite_and_months_as_days(tmp_path):
    listed = lines(checked(with_survival(tmp_path, "censorship", "survival_months")))
    assert (
        "field censorship: 'censorship' is read as the event, which by its name it says did not happen; "
        "if 1 means censored or alive, say os_event: {from: censorship, values: {0: 1, 1: 0}}"
    ) in listed
    assert (
        "field survival_months: 'survival_months' is read as days, and is named after months; "
        "say os_days: {from: survival_months, scale: 30.4375}"
    ) in listed


@pytest.mark.parametrize(
    ("time", "unit"),
    [("os_mo", "months"), ("FollowUp (yrs)", "years"), ("OS.mths", "months"), ("os_model", None), ("tumor_time", None)],
)
def test_units_are_known_for_short(tmp_path, time, unit):
    listed = lines(checked(with_survival(tmp_path, "survivor", time)))
    assert [f"is read as days, and is named after {unit};" in line for line in listed if "is read as days" in line] == (
        [] if unit is None else [True]
    )
    assert any("'survivor' is read as the event, which by its name it says did not happen" in line for line in listed)


def test_times_that_are_no_whole_days(tmp_path):
    listed = lines(checked(with_survival(tmp_path, "died", "followed")))
    finding = "field followed: 4 of 4 times are no whole numbers of days, 3.5 the longest (0.5)"
    assert any(line.startswith(finding) and "scale: 30.4375}" in line for line in listed), listed


def test_horizons_beyond_the_follow_up():
    head = Survival(4, horizons=[10, 365, 1095])
    targets = {"os_event": np.array([1.0, 0.0]), "os_days": np.array([20.0, 364.0])}
    assert head.doubts(targets) == [
        "task.head.horizons: no training patient is followed up to 365 or 1095 days; name earlier ones, or check that "
        "os_days are days"
    ]
    assert Survival(4, horizons=[10, 364]).doubts(targets) == []


def test_values_that_no_z_score_has(tmp_path):
    files = {"a/patients.csv": "patient_id\np1\n", "a/expression.csv": "patient_id,TP53,EGFR\np1,7377,-1\n"}
    write(tmp_path, files, dictionary={"expression_unit": "zscore"})
    line = (
        "field unit: 1 values beyond 100, the farthest 7377: no z-score is that far; check the export, or say clip: 10"
    )
    assert any(line in one for one in lines(checked(tmp_path)))


@pytest.mark.parametrize(("word", "share"), [("pneumonia", "100%"), ("a cough", None)])
def test_words_of_a_label_in_reports(tmp_path, word, share):
    patients = "".join(f"p{number},{'ill' if number % 2 else 'well'}\n" for number in range(12))
    reports = "".join(f"p{number},There is {word if number % 2 else 'nothing'}.\n" for number in range(12))
    files = {"a/t.csv": f"patient_id,finding\n{patients}", "a/reports.csv": f"patient_id,text\n{reports}"}
    columns = {"pneumonia": {"from": "finding", "values": {"ill": 1, "well": 0}}}
    sources = {"patients": {"file": "t.csv", "columns": columns}}
    write(tmp_path, files, sources=sources, dictionary={"labels": ["pneumonia"]})
    expected = [
        f"field text: a word of pneumonia stands in {share} of the reports of class 1, 0% of others (pneumonia); "
        "cut it, or let the task of pneumonia read no reports (task.modalities)"
    ]
    assert lines(checked(tmp_path)) == (expected if share else [])


def test_what_the_dictionary_drops_is_counted_and_what_it_misses_is_named(tmp_path):
    files = {
        "a/patients.csv": "patient_id\np1\np2\n",
        "a/record.csv": "patient_id,age,weight\np1,60,80\np2,61,\n",
        "a/expression.csv": "patient_id,TP53,EGFR,PTEN\np1,1,2,3\np2,2,1,3\n",
    }
    record = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]
    dictionary = {"genes": ["TP53", "KRAS"], "record": record}
    write(tmp_path, files, dictionary=dictionary)
    validation = checked(tmp_path)
    assert told(validation)["a column that the dictionary does not name, not read; its cells"] == 1
    assert told(validation)["genes that the dictionary does not name, left out"] == 2
    line = (
        "field record: 1 columns that the dictionary does not name are not read: weight; name under dictionary.record"
    )
    assert any(one.startswith(line) for one in lines(validation))
    assert any(
        "1 of 2 genes of the dictionary were measured by nobody, the first (KRAS)" in line for line in lines(validation)
    )
    sources = {"record": {"file": "record.csv", "columns": {"age": "age", "wieght": "weight"}}}
    write(tmp_path, {}, dictionary=dictionary, sources=sources)
    line = "field wieght: is declared, and the dictionary does not name it: not read"
    assert any(line in one for one in lines(checked(tmp_path)))


def test_ids_that_lost_their_zeros_are_one_line_and_nothing_follows_from_it(tmp_path):
    files = {"a/patients.csv": "patient_id,y\n001,0\n002,1\n", "a/record.csv": "patient_id,age\n1,60\n2,61\n"}
    record = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]
    write(tmp_path, files, dictionary={"record": record, "labels": ["y"]})
    assert lines(checked(tmp_path)) == [
        "field patient_id: 2 patients who are not in patients.csv, the first (1); write it 001 if that is meant, with "
        "its zeros; else add them, drop their rows, or say unknown_patients: ignore in cohort.yaml"
    ]


def test_extreme_values_cannot_take_over_an_update():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(16, 4, generator=generator)
    values[:8, 1] += 8  # two levels, as of a gene of the Y chromosome
    values[2:, 3] = 0  # measured, and not expressed
    kept = values.clone()
    assert torch.equal(without_extremes(values), kept)
    values[5, 0], values[6, 2] = 7377.0, float("nan")
    robust = without_extremes(values)
    assert 5 < robust[5, 0] < 15 and robust[6, 2].isnan()
    rest = torch.arange(16) != 5
    assert torch.equal(robust[rest].nan_to_num(), values[rest].nan_to_num())
    assert torch.equal(without_extremes(values[:7]).nan_to_num(), values[:7].nan_to_num()), "too few to tell"


def test_a_slip_of_the_unit_weighs_no_more_than_ten_scales():
    record = Record(4, [{"name": "age", "kind": "continuous", "center": 60, "scale": 12, "values": []}])
    assert record.transform({"age": 610}, None)["number"].tolist() == [10.0]
    assert record.transform({"age": 72}, None)["number"].tolist() == [1.0]
