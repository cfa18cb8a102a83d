"""A record in a request is held against what the encoder computes with, and what training patients had."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.modalities.record.request import Column, ColumnsForm

AGE = Column(name="age", kind="continuous", center=60, scale=12)
SEX = Column(name="sex", kind="categorical", values=["F", "M"])
ROWS = [{"age": float(age), "sex": "F"} for age in range(40, 81)]


def warned(form: ColumnsForm, **record: Any) -> list[str]:
    warnings: list[str] = []
    form.read(record, "record", warnings)
    return warnings


def test_no_end_of_the_range_that_travels_is_one_patient_s_alone():
    form = ColumnsForm(columns=[AGE, SEX]).fitted(iter([*ROWS, {"age": 103.0}, {"age": None}, {}]))
    assert form.columns[0].seen == (44.0, 77.0)  # the fifth from each end
    assert form.columns[1] == SEX
    assert "103" not in form.model_dump_json()


def test_too_few_patients_make_no_range():
    assert ColumnsForm(columns=[AGE]).fitted(ROWS[:19]).columns[0].seen is None
    assert ColumnsForm(columns=[AGE]).fitted(ROWS[:20]).columns[0].seen == (44.0, 55.0)


def test_a_value_that_no_training_patient_had_is_warned_of():
    form = ColumnsForm(columns=[AGE, SEX]).fitted(ROWS)
    assert warned(form, age=500) == [
        "record.age: 500 lies beyond what training patients had, 44 to 76; check value and unit"
    ]
    assert len(warned(form, age=-3)) == 1
    assert warned(form, age=47, sex="F") == warned(form, sex="M") == []
    assert warned(ColumnsForm(columns=[AGE]), age=500) == []


@given(st.floats(allow_nan=False) | st.integers())
def test_numbers_from_which_no_answer_can_come_are_refused(value: float):
    form = ColumnsForm(columns=[AGE])
    if -11_940 <= value <= 12_060:
        assert warned(form, age=value) == []
    else:
        with pytest.raises(UserError, match=r"record\.age: found .*; give a (finite )?number"):
            warned(form, age=value)
