"""What is reported: intervals, and, below the support, why there is no figure."""

import subprocess
import sys

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.statistics.figure import Support
from foundation.statistics.grid import DAYS_A_MONTH, Grid
from foundation.statistics.scores import ScoreTable
from foundation.statistics.weights import poisson_weights

OUTCOMES = {"positives": 12, "negatives": 30}


def test_a_figure_has_its_interval_counts_and_estimator():
    values = np.concatenate([[0.7], np.linspace(0.5, 0.9, 401)])
    figure = Support().figure(values, 42, OUTCOMES, "AUROC")
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.7, 0.51, 0.89))
    assert (figure.n, figure.outcomes, figure.replicates, figure.reason) == (42, OUTCOMES, 401, None)
    assert figure.interval == "95 % percentile, patient bootstrap"
    alone = Support().figure([0.7], 42, OUTCOMES, "AUROC")
    assert (alone.value, alone.low, alone.interval) == (0.7, None, None)


@pytest.mark.parametrize(
    ("n", "outcomes", "reason"),
    [
        (3, {"positives": 2, "negatives": 1}, "3 patients, of 10 that it takes"),
        (20, {"positives": 18, "negatives": 2}, "2 negatives, of 5 that it takes"),
        (20, {"events": 0}, "0 events, of 5 that it takes"),
    ],
)
def test_below_the_support_there_is_no_number(n: int, outcomes: dict[str, int], reason: str):
    figure = Support().figure(np.ones(100), n, outcomes, "C-index")
    assert (figure.value, figure.low, figure.high, figure.reason) == (None, None, None, reason)


def test_what_is_no_number_is_not_defined():
    assert Support().figure([np.nan, 1.0], 42, OUTCOMES, "C-index").reason == "not defined for these patients"
    half = Support().figure([0.5, *[np.nan] * 50, *[0.4] * 50], 42, OUTCOMES, "C-index")
    assert (half.value, half.low) == (0.5, None)
    assert half.reason == "defined in 50 of 100 replicates, too few for an interval"


def test_the_bootstrap_covers_as_often_as_it_says():
    covered, truth = 0, 0.7602499389  # of two normals a standard deviation apart, by 1 / sqrt(2)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        label = np.repeat([0.0, 1.0], 40)
        score = rng.normal(label)
        weights = poisson_weights([f"{seed}/{place}" for place in range(80)], 200, "coverage")
        values = ScoreTable.from_patients(label, score, Grid.exact(score), weights).auroc()
        figure = Support().figure(values, 80, {}, "AUROC")
        covered += figure.low <= truth <= figure.high
    assert 88 <= covered <= 99


def test_values_go_to_the_cells_that_are_declared():
    assert Grid.steps(0, 1, 0.25).index([-1, 0.1, 0.124, 0.126, 0.9, 7]).tolist() == [0, 0, 0, 1, 4, 4]
    months = Grid.months(1)
    assert months.values[-1] == pytest.approx(365.25)
    assert months.index([0, 1, DAYS_A_MONTH, 31, 365.25, 9999]).tolist() == [0, 0, 0, 1, 11, 11]
    assert Grid.exact([3, 1, 3, 2]).index([1, 3, 2]).tolist() == [0, 2, 1]
    with pytest.raises(UserError, match="grid: values must be finite, ascending"):
        Grid(np.array([1.0, 1.0]))
    with pytest.raises(UserError, match="a score or time is not a finite number"):
        months.index([np.nan])


def test_adding_tables_loads_numpy_alone():
    modules = (
        "scores probabilities confusion regression survival concordance horizons logistic cox hospitals comparison"
    )
    imports = "; ".join(f"import foundation.statistics.{name}" for name in modules.split())
    code = f"{imports}; import sys; print([m for m in ('torch', 'scipy', 'pandas', 'sklearn') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
