"""Units of expression: exact conversions by hand-computed values, every other one refused."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.data.problems import DataError
from foundation.data.units import TRANSCRIPTOME, UNITS, check_unit, convert

PATH = Path("expression.csv")
EXACT = {pair for pair in product(UNITS, UNITS) if pair[0].split("_")[-1] == pair[1].split("_")[-1]}


def frame(*rows: list[float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"G{number}" for number in range(len(rows[0]))])


def test_logarithms_are_of_one_more():
    assert convert(frame([0, 1, 3, 7]), "tpm", "log2_tpm", PATH).iloc[0].tolist() == [0, 1, 2, 3]
    assert convert(frame([0, 1, 2, 3]), "log2_fpkm", "fpkm", PATH).iloc[0].tolist() == [0, 1, 3, 7]


@pytest.mark.parametrize(("found", "wanted"), list(product(UNITS, UNITS)))
def test_few_genes_are_converted_only_where_that_is_exact(found, wanted):
    values = frame([0, 1, 3], [1, 1, 0])
    if (found, wanted) in EXACT:
        assert convert(values, found, wanted, PATH).shape == values.shape
    else:
        with pytest.raises(DataError, match=rf"expression\.csv: field unit: '{found}' cannot be converted exactly"):
            convert(values, found, wanted, PATH)


@pytest.mark.parametrize(("found", "wanted"), [("fpkm", "tpm"), ("counts", "cpm")])
def test_a_whole_transcriptome_has_its_shares_of_a_million(found, wanted):
    values = pd.DataFrame(np.random.default_rng(0).integers(0, 50, (2, TRANSCRIPTOME)).astype(float))
    converted = convert(values, found, wanted, PATH)
    np.testing.assert_allclose(converted.sum(axis=1), 1e6)
    np.testing.assert_allclose(converted.iloc[0] / converted.iloc[0, 0], values.iloc[0] / values.iloc[0, 0])
    logs = convert(values, found, f"log2_{wanted}", PATH)
    np.testing.assert_allclose(logs, np.log2(converted + 1))
    with pytest.raises(DataError, match="cannot be converted"):
        convert(values.assign(lost=np.nan), found, wanted, PATH)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
@settings(deadline=None)
def test_there_and_back_changes_nothing(values):
    table = frame(values)
    back = convert(convert(table, "tpm", "log2_tpm", PATH), "log2_tpm", "tpm", PATH)
    np.testing.assert_allclose(back, table, rtol=1e-9, atol=1e-9)


def test_a_unit_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"no unit 'rpkm'; give one of counts"):
        convert(frame([1]), "rpkm", "tpm", PATH)


@pytest.mark.parametrize(
    ("values", "unit", "severity", "words"),
    [
        ([[1, -1]], "tpm", "error", "negative values cannot be tpm"),
        ([[1, 1.5]], "counts", "error", "whole numbers"),
        ([[41, 3]], "log2_tpm", "error", "too high"),
        ([[1.0] * 101], "tpm", "warning", "look like logarithms"),
        ([[3.0] * 101], "log2_counts", "warning", "all values are whole numbers: these look like counts, not log2"),
        ([[1.0] * 101], "zscore", "warning", "do not look like z-scores"),
        ([[1.0] * TRANSCRIPTOME], "tpm", "warning", "not to a million"),
    ],
)
def test_values_that_belie_their_unit_are_found(values, unit, severity, words):
    found = check_unit(frame(*values), unit, PATH)
    assert any(problem.severity == severity and words in str(problem) for problem in found), found


@pytest.mark.parametrize(("values", "unit"), [([[1, 2]], "counts"), ([[-2, 2]], "zscore"), ([[np.nan]], "tpm")])
def test_values_of_their_unit_pass(values, unit):
    assert check_unit(frame(*values), unit, PATH) == []
