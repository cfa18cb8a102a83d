"""Criteria, who fails them, and counts of few patients that nothing gives away."""

import json
import re

import pandas as pd
import pytest

from finetune.trial.criteria import Criterion, read_criteria
from finetune.trial.eligibility import Eligibility
from foundation.errors import UserError

TABLE = pd.DataFrame({"age": [40.0, 70.0, None], "sex": ["F", "M", None], "idh": [1.0, 0.0, None]})


@pytest.mark.parametrize(
    ("rule", "meets", "words"),
    [
        ({"column": "age", "at_least": 40, "at_most": 69}, [True, False, False], "age from 40 up to 69"),
        ({"column": "age", "at_most": 70, "unknown": "meets"}, [True, True, True], "age up to 70"),
        ({"column": "sex", "one_of": ["F"]}, [True, False, False], "sex one of F"),
        ({"column": "idh", "none_of": [1]}, [False, True, False], "idh none of 1"),
        ({"column": "idh", "known": True}, [True, True, False], "idh known"),
        ({"column": "idh", "known": False, "name": "untested"}, [False, False, True], "untested"),
    ],
)
def test_a_criterion_is_met_or_not(rule, meets, words):
    criterion = Criterion(**rule)
    assert criterion.meets(TABLE[rule["column"]]).tolist() == meets
    assert criterion.words == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("criteria: []", "criteria: List should have at least 1 item"),
        ("criteria: [{column: age}]", "needs one of bounds, one_of, none_of, known"),
        ("criteria: [{column: age, at_least: 3, known: true}]", "and no more"),
        ("criteria: [{column: age, at_least: 3, at_most: 1}]", "at_least lies above at_most"),
        ("criteria: [{column: age, at_least: .nan}]", "at_least: Input should be a finite number"),
        ("criteria: [{column: age, at_most: .inf}]", "at_most: Input should be a finite number"),
        ("criteria: [{column: sex, one_of: []}]", "one_of: List should have at least 1 item"),
        ("criteria: [{column: sex, none_of: []}]", "none_of: List should have at least 1 item"),
        ("criteria: [{column: age, atleast: 3}]", "Extra inputs are not permitted"),
        ("criteria: [{column: age, known: true}, {column: age, known: true}]", "'age known' stands there twice"),
        ("criteria: [", "not readable as YAML"),
    ],
)
def test_a_file_of_other_criteria_is_one_line(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(words)):
        read_criteria(tmp_path / "c.yaml")


def test_bounds_on_words_and_columns_that_are_none_are_one_line(scored, tmp_path):
    with pytest.raises(UserError, match="'sex' holds words; use one_of"):
        Criterion(column="sex", at_least=1).meets(TABLE["sex"])
    (tmp_path / "c.yaml").write_text("criteria: [{column: stage, known: true}]")
    with pytest.raises(UserError, match="criterion on 'stage', which is no column; there are hospital"):
        Eligibility(str(tmp_path / "c.yaml")).run(scored, 0)
    with pytest.raises(UserError, match="tool.criteria: give a YAML file"):
        Eligibility()


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ({"column": "sex", "one_of": ["female"]}, TABLE["sex"]),
        ({"column": "sex", "none_of": ["F", "m"]}, TABLE["sex"]),
        ({"column": "idh", "one_of": ["1"]}, TABLE["idh"]),
        ({"column": "idh", "none_of": [float("nan")]}, TABLE["idh"]),
    ],
)
def test_a_value_that_no_patient_has_is_one_line(rule, column):
    with pytest.raises(UserError, match=rf"no patient's '{rule['column']}' is .*mend the spelling"):
        Criterion(**rule).meets(column)


def test_a_level_that_the_cohort_declares_may_be_of_nobody(scored, tmp_path):
    assert Criterion(column="sex", none_of=["X"]).meets(TABLE["sex"], ["F", "M", "X"]).tolist() == [True, True, False]
    (tmp_path / "c.yaml").write_text("criteria: [{column: sex, one_of: [female]}]")
    with pytest.raises(UserError, match="no patient's 'sex' is female; it has F, M; mend"):
        Eligibility(str(tmp_path / "c.yaml")).run(scored, 0)


def test_who_is_lost_by_which_criterion_adds_up(scored, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "criteria:\n- {column: age, at_most: 65}\n- {column: sex, one_of: [F]}\n- {column: biomarker, known: true}\n"
    )
    page = Eligibility(str(tmp_path / "c.yaml"), smallest=1).run(scored, 0)
    table = scored.table
    young, women = (table["age"] <= 65).to_numpy(), (table["sex"] == "F").to_numpy()
    known = table["biomarker"].notna().to_numpy()
    value = {name.removeprefix("eligibility/"): figure.value for name, figure in page.figures.items()}
    assert value["age up to 65"] == (~young).sum()
    assert value["sex one of F"] == (young & ~women).sum()
    assert value["eligible"] == (young & women & known).sum()
    assert value["sex one of F/alone"] == (young & ~women & known).sum()
    firsts = ("age up to 65", "sex one of F", "biomarker known", "eligible")
    assert sum(value[name] for name in firsts) == len(table)


def test_a_page_tells_no_small_count(scored, tmp_path):
    (tmp_path / "c.yaml").write_text("criteria: [{column: age, at_most: 65}, {column: sex, one_of: [F]}]")
    table = scored.table.assign(sex=["M"] * 2 + ["F"] * (len(scored.table) - 2), age=50.0)
    few = type(scored)(table, scored.cohort, scored.run, "test", "")
    page = Eligibility(str(tmp_path / "c.yaml")).run(few, 0)
    assert page.figures["eligibility/sex one of F"].value is None
    assert page.figures["eligibility/eligible"].value is None  # else all less those eligible would tell it
    assert page.lead[0].startswith("Eligible patients: hidden of")
    assert f">{len(table) - 2}<" not in json.dumps([part["tables"] for part in page.sections])


def few(scored, failing: list[tuple[str, ...]]):
    """Patients who each fail the columns named, a criterion each; all others meet them all."""
    table = scored.table.assign(a=0.0, b=0.0, hospital="one")
    for place, columns in enumerate(failing):
        table.loc[table.index[place], list(columns)] = 1.0
    return type(scored)(table, scored.cohort, scored.run, "test", "")


def test_who_is_hidden_among_all_stands_in_no_column_of_its_criterion(scored, tmp_path):
    (tmp_path / "c.yaml").write_text("criteria: [{name: a, column: a, at_most: 0}, {name: b, column: b, at_most: 0}]")
    page = Eligibility(str(tmp_path / "c.yaml")).run(few(scored, [("a",)] * 6 + [("b",)] * 3), 0)
    assert page.figures["eligibility/a"].value is None  # else all less those eligible and these would tell the 3 of b
    assert page.figures["eligibility/a/alone"].value is None
    (by_criterion,) = next(part["tables"] for part in page.sections if part["title"] == "By criterion")
    assert ">6<" not in by_criterion and ">3<" not in by_criterion


def test_a_small_count_does_not_follow_from_who_fails_and_who_is_lost_first(scored, tmp_path):
    (tmp_path / "c.yaml").write_text("criteria: [{name: a, column: a, at_most: 0}, {name: b, column: b, at_most: 0}]")
    failing = [("a",)] * 3 + [("a", "b")] * 7 + [("b",)] * 13
    page = Eligibility(str(tmp_path / "c.yaml")).run(few(scored, failing), 0)
    assert page.figures["eligibility/a"].value == 10
    assert page.figures["eligibility/b"].value == 13
    (by_criterion,) = next(part["tables"] for part in page.sections if part["title"] == "By criterion")
    assert ">20<" not in by_criterion  # who fails b, less those lost by it first, fails both: 10 less 7 is 3
