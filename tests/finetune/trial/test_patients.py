"""Scores of runs, joined with what the cohort knows of their patients."""

import numpy as np
import pandas as pd
import pytest

from finetune.trial.patients import read_scored
from foundation.errors import UserError


def test_scores_stand_beside_outcomes_and_record(evaluated, cohort):
    scored = read_scored(evaluated(), ["test"])
    assert scored.patients == list(cohort.patients.index)
    assert {"hospital", "score", "biomarker", "os_event", "os_days", "age", "sex"} <= set(scored.table)
    assert scored.survival() == ("os_event", "os_days")
    has = cohort.patients.index[cohort.patients["record"].astype(bool)]
    ages = [record["age"] for record in cohort.values(has, "record")]
    np.testing.assert_array_equal(scored.table.loc[has, "age"].to_numpy(float), np.array(ages, float))
    assert scored.first == ""


def test_a_probability_is_the_score_of_a_class_and_of_several_outputs_one_is_named(evaluated):
    folder = evaluated("classification")
    with pytest.raises(
        UserError, match="prediction: patients have several; name one of event by 365 days, event by 1095"
    ):
        read_scored(folder, ["test"])
    score = read_scored(folder, ["test"], output="event by 365 days").score
    assert ((score > 0) & (score < 1)).all()


def test_repeated_folds_are_averaged(evaluated, cohort):
    folder = evaluated()
    names = list(cohort.patients.index)
    rows = pd.DataFrame({"patient_id": names * 2, "hospital": "x", "fold": "a"})
    rows["estimate_0"] = np.arange(len(rows), dtype=float)
    rows.to_parquet(folder / "predictions.parquet", index=False)
    scored = read_scored(folder, ["test"])
    expected = pd.Series(np.arange(len(names)) + len(names) / 2, index=names)
    pd.testing.assert_series_equal(scored.table["score"].sort_index(), expected.sort_index(), check_names=False)
    with pytest.raises(UserError, match="every patient of a cross-validation is in test"):
        read_scored(folder, ["train"])


def test_what_the_model_has_seen_is_said_first(evaluated):
    assert read_scored(evaluated(seen="Seen in training, not held out: x."), ["test"]).first.startswith(
        "Seen in training"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"splits": ["train"]},
            "split: the run has no predictions of 'train', only of test; run python -m finetune.evaluate with "
            r"predict=\[train,validation,test\]",
        ),
        ({"subset": "report alone"}, "subset: the run has no predictions of 'report alone', only of all"),
        ({"output": "death"}, "prediction: found 'death'; the run has event by 365 days"),
    ],
)
def test_predictions_that_are_not_there_are_one_line(evaluated, arguments, words):
    with pytest.raises(UserError, match=words):
        read_scored(evaluated(), **{"splits": ["test"], **arguments})


def test_a_table_of_arms_is_joined_by_patient(evaluated, cohort, tmp_path):
    names = list(cohort.patients.index)
    pd.DataFrame({"patient": names[:5], "arm": [1, 0, 1, 0, 1]}).to_csv(tmp_path / "arms.csv", index=False)
    scored = read_scored(evaluated(), ["test"], table=tmp_path / "arms.csv")
    assert len(scored.known("arm").table) == 5
    pd.DataFrame({"patient": names[:2] + names[:1], "arm": 1}).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(UserError, match="needs a column 'patient' with each patient once"):
        read_scored(evaluated(), ["test"], table=tmp_path / "twice.csv")
    pd.DataFrame({"patient": ["somebody", "else"], "arm": 1}).to_csv(tmp_path / "others.csv", index=False)
    with pytest.raises(UserError, match="table: none of .*others.csv is a patient of the run"):
        read_scored(evaluated(), ["test"], table=tmp_path / "others.csv")
    pd.DataFrame({"patient": names[:2], "age": 1}).to_csv(tmp_path / "age.csv", index=False)
    with pytest.raises(UserError, match="has a column 'age', which the cohort has, too"):
        read_scored(evaluated(), ["test"], table=tmp_path / "age.csv")


def test_columns_that_are_missing_or_words_are_one_line(scored):
    with pytest.raises(UserError, match="tool.outcome: demo has no column 'grade2'; it has hospital"):
        scored.column("grade2", "tool.outcome")
    with pytest.raises(UserError, match="'sex' holds words"):
        scored.column("sex", "tool.outcome")


@pytest.mark.parametrize(("name", "content"), [("t.csv", b""), ("t.csv", b"\xff\xfea"), ("t.parquet", b"no table")])
def test_a_damaged_table_is_one_line(evaluated, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"table: .*{name} is not readable"):
        read_scored(evaluated(), ["test"], table=tmp_path / name)
