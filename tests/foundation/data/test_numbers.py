"""Cells as numbers: exact, none, or one of two."""

import numpy as np
import pandas as pd
import pytest

from foundation.data.numbers import ambiguous, bounded, is_bound, number, numbers, numbers_or_text


def cells(*values: object) -> "pd.Series[object]":
    return pd.Series(list(values), dtype=object)


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands", "value"),
    [
        ("1.5", ".", None, 1.5),
        (" -2 ", ".", None, -2),
        ("1e-3", ".", None, 0.001),
        ("0.1", ".", None, 0.1),
        ("1,5", ",", None, 1.5),
        ("1.250,5", ",", ".", 1250.5),
        ("1 250,5", ",", " ", 1250.5),
        ("1\u202f250", ",", " ", 1250),
        ("1'250.5", ".", "'", 1250.5),
        ("1,250", ".", ",", 1250),
        ("12,50", ".", ",", None),
        ("1.25", ",", ".", None),
        ("1.5", ",", None, None),
        ("1,250", ".", None, None),
        ("1_000", ".", None, None),
        ("0x1A", ".", None, None),
        ("١٢", ".", None, None),
        ("NA", ".", None, None),
        ("nan", ".", None, None),
        ("", ".", None, None),
    ],
)
def test_a_cell_is_exactly_one_number_or_none(cell, decimal, thousands, value):
    read = number(cell, decimal, thousands)
    assert np.isnan(read) if value is None else read == value


def test_whole_columns_stay_whole_and_codes_stay_text():
    assert numbers(cells("1", "2")).dtype == np.int64
    assert numbers_or_text(cells("1", "2.5", None)).tolist()[:2] == [1.0, 2.5]
    for codes in (["01", "2"], ["1E3", "1000"], ["1234567890123456"], ["1", "x"]):
        assert numbers_or_text(cells(*codes)).tolist() == codes


def test_true_and_false_are_one_and_zero_in_a_column_of_nothing_else():
    assert numbers(cells("True", "FALSE", True)).tolist() == [1, 0, 1]
    assert numbers(cells("True", "2")).isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("column", "which", "alone"),
    [
        (["1.460", "365"], [True, False], True),
        (["150.000", "230.000"], [True, True], False),
        (["1.460", "36.5"], [False, False], False),
        (["0.123", "1.460"], [False, False], False),
        (["365", "12"], [False, False], False),
    ],
)
def test_a_point_is_ambiguous_where_no_cell_shows_what_it_is(column, which, alone):
    found, stands_alone = ambiguous(cells(*column))
    assert (found.tolist(), stands_alone) == (which, alone)


@pytest.mark.parametrize(
    ("cell", "rule", "value"),
    [
        ("> 89", "limit", 89),
        ("90+", "limit", 90),
        ("≥90", "limit", 90),
        ("<0.01", "limit", 0.01),
        ("<0.01", "half", 0.005),
        ("> 89", "half", 89),
        ("<= 5", "missing", None),
        ("50", "half", "50"),
        ("<x", "half", "<x"),
    ],
)
def test_a_bound_is_what_the_rule_says(cell, rule, value):
    assert bounded(cell, rule) == value


def test_bounds_are_told_from_other_words():
    assert [is_bound(cell) for cell in ("> 89", "90+", "C+", "50", None)] == [True, True, False, False, False]
