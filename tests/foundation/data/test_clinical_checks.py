"""Clinical tables: every impossible, contradicting or leaking value is found, and sound tables are left in peace."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.data.clinical_checks import CLASSES, SHOWN, check_dates, check_labels, check_record, check_survival
from foundation.data.dictionary import RecordColumn
from foundation.data.outcome_checks import check_outcomes
from foundation.data.problems import Problem

FILE = "site/table.csv"
NO_CLASS = "is no class (0 and 1, or fewer than 20 written 0, 1, 2, …)"
COLUMNS = [
    RecordColumn(name="age", kind="continuous", center=60, scale=12),
    RecordColumn(name="ldh", kind="continuous", center=200, scale=50),
    RecordColumn(name="sex", kind="categorical", values=["F", "M"]),
    RecordColumn(name="grade", kind="categorical", values=["2", "3"]),
]
SOUND = {
    "age": [61, 0, 120, np.nan],
    "ldh": [200, 650, -300, 180],
    "sex": ["F", "M", None, "F"],
    "grade": [2.0, 3.0, np.nan, 2.0],
    "birth": ["1950-01-31", None, "1980-01-01", "1990-05-05"],
    "diagnosed": ["2010-01-31", "2011-01-01", "2019-12-31", None],
    "seen": ["2010-01-31", "2020-01-01", None, "2020-01-01"],
    "os_event": [1, 0, 1, np.nan],
    "os_days": [10.5, 3650, 1, np.nan],
    "idh": [1, 0, 0, np.nan],
}
TODAY = date(2020, 1, 1)


def table(**changes: list[object]) -> pd.DataFrame:
    return pd.DataFrame({**SOUND, **changes}, index=pd.Index(list("abcd"), name="patient_id"))


def every(frame: pd.DataFrame) -> list[Problem]:
    return [
        *check_record(frame, COLUMNS, FILE),
        *check_survival(frame, FILE),
        *check_labels(frame, ["idh"], FILE),
        *check_dates(frame, FILE, "birth", "diagnosed", "seen", TODAY),
    ]


def test_a_sound_table_has_no_finding() -> None:
    assert every(table()) == []


WRONG: dict[str, tuple[pd.DataFrame, list[str]]] = {
    "unborn": (table(age=[61, -1, 70, 50]), ["error field age: patient b is no age in years (-1.0)"]),
    "age in days": (table(age=[61, 22000, 70, 50]), ["error field age: patient b is no age in years (22000.0)"]),
    "age in words": (table(age=["61", "old", 70, 50]), ["error field age: patient b is no number (old)"]),
    "decimal comma": (table(ldh=["200", "201,5", 1, 3]), ["error field ldh: patient b is no number (201,5)"]),
    "infinite": (table(ldh=[200, np.inf, 1, 3]), ["error field ldh: patient b is infinite (inf)"]),
    "another unit": (
        table(ldh=[200, 201, 180, 12000]),
        ["warning field ldh: patient d is more than 10 scales (50) from 200 (12000.0)"],
    ),
    "constant": (table(ldh=[200, 200, np.nan, 200]), ["warning field ldh: all patients have one value (200.0)"]),
    "empty": (table(ldh=[None] * 4), ["warning field ldh: no patient has a value"]),
    "unknown level": (
        table(sex=["F", "m", "m", "M"]),
        ["error field sex: 2 patients, the first b, have none of F, M (m); did you mean 'M'"],
    ),
    "unknown grade": (table(grade=[2, 3, 4, 2]), ["error field grade: 1 patients, the first c, have none of 2, 3 (4)"]),
    "event coded 1 and 2": (table(os_event=[1, 2, 1, None]), ["error field os_event: patient b is no event (2.0)"]),
    "event in words": (table(os_event=[1, "dead", 1, None]), ["error field os_event: patient b is no number (dead)"]),
    "time in words": (table(os_days=[1, "2y", 3, None]), ["error field os_days: patient b is no number (2y)"]),
    "negative time": (table(os_days=[1, -2, 3, None]), ["error field os_days: patient b ends before it begins (-2.0)"]),
    "infinite time": (table(os_days=[1, np.inf, 3, None]), ["error field os_days: patient b is infinite (inf)"]),
    "no time": (table(os_days=[1, None, 3, None]), ["error field os_event: patient b has no os_days (0.0)"]),
    "no event": (table(os_event=[1, None, 0, None]), ["error field os_days: patient b has no os_event (3650.0)"]),
    "zero time": (
        table(os_days=[1, 0, 3, None]),
        ["warning field os_days: patient b is followed up for no time"],
    ),
    "time in hours": (
        table(os_days=[1, 87600, 3, None]),
        ["warning field os_days: patient b is followed up beyond 120 years (87600.0)"],
    ),
    "all censored": (table(os_event=[0, 0, 0, None]), ["warning field os_event: no patient has the event"]),
    "no follow-up": (
        table(os_event=[None] * 4, os_days=[None] * 4),
        ["warning field os_event: nobody is followed up"],
    ),
    "no event column": (table().drop(columns="os_event"), ["warning field os_event: no such column"]),
    "label in words": (table(idh=["mutant", 0, 1, None]), ["error field idh: patient a is no number (mutant)"]),
    "label of three": (table(idh=[2, 0, 1, None]), []),
    "label of a half": (table(idh=[0.5, 0, 1, None]), [f"warning field idh: patient a {NO_CLASS} (0.5)"]),
    "label below nought": (table(idh=[-1, 0, 1, None]), [f"warning field idh: patient a {NO_CLASS} (-1.0)"]),
    "label in years": (table(idh=[61, 0, 1, None]), [f"warning field idh: patient a {NO_CLASS} (61.0)"]),
    "one class": (table(idh=[1, 1, None, 1]), ["warning field idh: all patients are of one class (1.0)"]),
    "no labels": (table(idh=[None] * 4), ["warning field idh: nobody is labelled"]),
    "no label column": (table().drop(columns="idh"), ["warning field idh: no such column"]),
    "no date": (
        table(seen=["2010-01-31", "01.02.2012", None, None]),
        ["error field seen: patient b is no ISO date (01.02.2012)"],
    ),
    "no such day": (
        table(seen=["2010-01-31", "2012-02-30", None, None]),
        ["error field seen: patient b is no ISO date (2012-02-30)"],
    ),
    "future": (
        table(seen=["2020-01-02", None, None, None]),
        ["error field seen: patient a is in the future"],
    ),
    "born later": (
        table(birth=["2010-02-01", None, None, None]),
        ["error field diagnosed: patient a is before birth (2010-01-31)"],
    ),
    "seen earlier": (
        table(seen=["2010-01-30", None, None, None]),
        ["error field seen: patient a is before diagnosed (2010-01-30)"],
    ),
    "too old": (
        table(birth=["1889-01-01", None, None, None]),
        [
            "error field diagnosed: patient a is more than 120 years after birth (2010-01-31)",
            "error field seen: patient a is more than 120 years after birth (2010-01-31)",
        ],
    ),
}


@pytest.mark.parametrize(("frame", "lines"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(frame: pd.DataFrame, lines: list[str]) -> None:
    found = every(frame)
    assert len(found) == len(lines)
    for problem, line in zip(found, lines, strict=True):
        assert f"{problem.severity} {str(problem).removeprefix(FILE + ': ')}".startswith(line)
        assert "\n" not in str(problem)


def test_many_alike_are_counted() -> None:
    frame = pd.DataFrame({"age": [-1.0] * (SHOWN + 7)})
    found = check_record(frame, COLUMNS[:1], FILE)
    ages = [problem for problem in found if problem.severity == "error"]
    assert len(ages) == SHOWN + 1
    assert ages[-1].finding == "7 more patients: is no age in years"


PEOPLE = 60
GENERATOR = np.random.default_rng(0)
TIME = pd.Series(GENERATOR.exponential(900, PEOPLE))
EVENT = pd.Series(GENERATOR.integers(0, 2, PEOPLE)).astype(float)
NOISE = pd.Series(GENERATOR.normal(size=PEOPLE))
OUTCOMES = pd.DataFrame({"os_event": EVENT, "os_days": TIME, "idh": 1 - EVENT.where(NOISE > 0, 1 - EVENT)})
COPIES: dict[str, tuple[Callable[[], "pd.Series[object]"], str]] = {
    "years": (lambda: TIME / 365.25, "os_days"),
    "hazard": (lambda: -np.log(TIME), "os_days"),
    "rounded": (lambda: (TIME / 30).round(), "os_days"),
    "half known": (lambda: TIME.where(NOISE > 0), "os_days"),
    "censored": (lambda: 1 - EVENT, "os_event"),
    "words": (lambda: EVENT.map({1: "Dead", 0: "Alive"}), "os_event"),
    "label": (lambda: OUTCOMES["idh"], "idh"),
}


@pytest.mark.parametrize(("copy", "outcome"), COPIES.values(), ids=COPIES)
def test_a_copy_of_an_outcome_is_found_under_any_name(copy: Callable[[], "pd.Series[object]"], outcome: str) -> None:
    found = check_outcomes(pd.DataFrame({"score": copy(), "noise": NOISE}), OUTCOMES, FILE)
    assert [(problem.severity, problem.field) for problem in found] == [("warning", "score")]
    assert found[0].finding.startswith(f"almost a copy of {outcome} (rank correlation ")


def test_outcomes_are_known_by_name() -> None:
    inputs = pd.DataFrame({"vital_status": NOISE, "idh": NOISE, "OS.time": NOISE, "age": NOISE})
    found = check_outcomes(inputs, OUTCOMES, FILE)
    assert [(problem.severity, problem.field) for problem in found] == [
        ("error", "vital_status"),
        ("error", "idh"),
        ("error", "OS.time"),
    ]


def test_what_goes_along_with_an_outcome_is_an_input() -> None:
    inputs = pd.DataFrame(
        {
            "prognostic": TIME.rank() + 20 * NOISE,
            "constant": 1.0,
            "few": TIME.where(TIME.index < 19),
            "kind": pd.Series(["x", "y", "z"] * (PEOPLE // 3)),
            "empty": None,
        }
    )
    assert check_outcomes(inputs, OUTCOMES, FILE) == []


@given(st.permutations(range(PEOPLE)))
def test_the_order_of_patients_does_not_matter(order: list[int]) -> None:
    inputs = pd.DataFrame({"score": TIME / 7}).iloc[order]
    assert check_outcomes(inputs, OUTCOMES, FILE) == check_outcomes(inputs.sort_index(), OUTCOMES, FILE)


def test_label_of_many_whole_numbers_is_no_class():
    patients = pd.DataFrame({"months": [float(value) for value in range(CLASSES)]})
    assert len(check_labels(patients, ["months"], FILE)) == CLASSES - 2
    assert not check_labels(patients[: CLASSES - 1], ["months"], FILE)
