"""Answers by hand: coverage, abstention, and risk by how many of the most confident are answered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.statistics.answers import AnswerTable
from foundation.statistics.weights import poisson_weights

COLUMNS = {
    "truths": [1, 1, 1, 0, 1],
    "inside": [1, 1, 0, 0, 1],
    "size": [1, 2, 1, np.nan, 0],
    "flagged": [0, 0, 1, 0, 0],
    "abstained": [0, 1, 1, 0, 0],
    "loss": [0, 1, 1, np.nan, 0],
    "confidence": [0.9, 0.6, 0.6, 1.0, 0.8],
}


def table(columns: dict, weights: np.ndarray | None = None) -> AnswerTable:
    return AnswerTable.from_patients(**{name: np.array(column) for name, column in columns.items()}, weights=weights)


def test_shares_and_means_of_the_hand():
    answers = table(COLUMNS)
    assert answers.coverage() == pytest.approx([3 / 4])
    assert answers.mean_size() == pytest.approx([1.0])
    assert answers.flagged() == pytest.approx([1 / 5])
    assert answers.abstained() == pytest.approx([2 / 5])
    assert answers.risk_answered() == pytest.approx([0.0])
    assert answers.risk() == pytest.approx([2 / 4])


def test_risk_by_coverage_takes_the_most_confident_first_and_ties_together():
    curve = table(COLUMNS).risk_coverage()
    reached = curve.coverage[0] > 0
    steps = dict(zip(curve.coverage[0][reached].round(6), curve.risk[0][reached], strict=True))
    assert steps == pytest.approx({0.25: 0.0, 0.5: 0.0, 1.0: 0.5})
    assert table(COLUMNS).area_under_risk_coverage() == pytest.approx([(0 + 0 + 0.5 + 0.5) / 4])


@given(st.integers(0, 5))
def test_hospitals_add_up_to_the_whole_with_every_replicate(first):
    weights = poisson_weights([str(index) for index in range(5)], 6, "key")
    whole = table(COLUMNS, weights)
    parts = []
    for rows in (slice(None, first), slice(first, None)):
        some = {name: column[rows] for name, column in COLUMNS.items()}
        parts.append(table(some, weights[:, rows]))
    added = parts[0] + parts[1]
    for name, array in whole.to_arrays().items():
        np.testing.assert_allclose(added.to_arrays()[name], array, atol=1e-12)
    assert AnswerTable.empty(6).filled(whole.to_arrays()).coverage() == pytest.approx(whole.coverage(), nan_ok=True)


def test_where_nothing_is_known_nothing_is_defined():
    unknown = COLUMNS | {"truths": [0] * 5, "inside": [0] * 5, "loss": [np.nan] * 5, "size": [np.nan] * 5}
    answers = table(unknown)
    for figure in ("coverage", "mean_size", "risk_answered", "risk", "area_under_risk_coverage"):
        assert np.isnan(getattr(answers, figure)()).all(), figure
    assert answers.abstained() == pytest.approx([2 / 5])


def test_no_order_of_confidence_is_better_than_that_of_the_losses():
    rng = np.random.default_rng(0)
    loss = (rng.random(200) < 0.3).astype(float)
    rest = {"truths": loss, "inside": loss, "size": loss, "flagged": loss, "abstained": loss, "loss": loss}
    for seed in range(1, 6):
        drawn = np.random.default_rng(seed).random(200)
        best = table(rest | {"confidence": (1 - loss) / 2 + drawn / 2 * 0.9}).area_under_risk_coverage()
        assert table(rest | {"confidence": drawn}).area_under_risk_coverage() > best
