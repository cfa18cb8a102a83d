"""Tables of hospitals add up to the table of all, in every figure, however patients are spread."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.statistics.concordance import harrell_c, harrell_c_bounds, time_dependent_auc, uno_c
from foundation.statistics.confusion import ConfusionTable
from foundation.statistics.cox import CoxSums, RiskSums
from foundation.statistics.grid import Grid
from foundation.statistics.horizons import DCalibrationTable, HorizonTable
from foundation.statistics.hospitals import hospital_bootstrap, hospital_draws
from foundation.statistics.logistic import calibration_line, logistic_sums
from foundation.statistics.probabilities import ProbabilityTable
from foundation.statistics.regression import RegressionTable
from foundation.statistics.scores import PairedScoreTable, ScoreTable
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Table, counted, summed, total
from foundation.statistics.weights import poisson_weights
from tests.foundation.statistics.patients import DAYS, RISKS, SCORES, Patients, drawn

BETA = np.array([[0.3, -0.2, 0.1]] * 5)
HORIZONS = (10.0, 20.0, 40.0)


def weights(patients: Patients) -> np.ndarray:
    return poisson_weights(patients.ids, 4, "test")


def survival(patients: Patients) -> np.ndarray:
    return np.exp(-0.03 * np.array(HORIZONS) * np.exp(patients.risk)[:, None])


def classes(patients: Patients) -> tuple[np.ndarray, np.ndarray]:
    p = np.stack([patients.probability, patients.other, np.full(len(patients.ids), 0.4)], axis=1)
    return patients.label + (patients.event * (1 - patients.label)) * 2, p


TABLES: dict[str, Callable[[Patients], Table]] = {
    "scores": lambda p: ScoreTable.from_patients(p.label, p.probability, SCORES, weights(p)),
    "pairs": lambda p: PairedScoreTable.from_patients(p.label, p.probability, p.other, SCORES, SCORES),
    "probabilities": lambda p: ProbabilityTable.from_patients(p.label, p.probability, weights(p)),
    "classes": lambda p: ConfusionTable.from_patients(*classes(p), weights(p)),
    "regression": lambda p: RegressionTable.from_patients(p.time, 20 - p.risk, 20.0, weights(p)),
    "survival": lambda p: SurvivalTable.from_patients(p.event, p.time, p.risk, DAYS, RISKS, weights(p)),
    "horizons": lambda p: HorizonTable.from_patients(p.event, p.time, survival(p), DAYS, HORIZONS, weights(p)),
    "d-calibration": lambda p: DCalibrationTable.from_patients(p.event, p.probability, weights(p)),
    "logistic": lambda p: logistic_sums(p.covariates, p.label, BETA, weights(p)),
    "cox": lambda p: CoxSums.from_patients(p.event, p.time, p.covariates, DAYS, BETA, weights(p)),
    "deep cox": lambda p: RiskSums.from_patients(p.event, p.time, p.risk, DAYS),
}
FIGURES: dict[str, Callable[[Table], list[np.ndarray]]] = {
    "scores": lambda t: [
        *(t.roc() + t.auroc_bounds() + t.confusion(0.5) + calibration_line(t)),
        t.auroc(),
        t.auprc(),
        t.delong_variance(),
        t.balanced_accuracy(),
        t.f1(),
        t.sensitivity_at_specificity(0.9),
    ],
    "pairs": lambda t: [t.difference_variance()],
    "probabilities": lambda t: [
        t.brier(),
        t.log_loss(),
        t.ece(),
        t.observed_to_expected(),
        *t.calibration_curve(),
        *t.decision_curve(),
    ],
    "classes": lambda t: [t.accuracy(), t.balanced_accuracy(), t.f1_macro(), t.brier(), t.log_loss()],
    "regression": lambda t: [t.mean_error(), t.mae(), t.rmse(), t.r2(), t.pearson()],
    "survival": lambda t: [
        harrell_c(t),
        *harrell_c_bounds(t),
        uno_c(t),
        uno_c(t, 30.0),
        time_dependent_auc(t, 20.0),
        *t.kaplan_meier(),
        *t.nelson_aalen(),
        *t.rmst(30.0),
        t.by_group([-0.5, 0.5]).log_rank().statistic,
    ],
    "horizons": lambda t: [t.brier(), t.brier_of_kaplan_meier(), t.integrated_brier(), t.observed_to_expected()],
    "d-calibration": lambda t: [t.shares(), t.test().statistic],
    "logistic": lambda t: [t.log_likelihood, t.gradient, t.information],
    "cox": lambda t: [*vars(t.newton()).values(), *vars(t.newton("breslow")).values(), t.baseline_hazard()],
    "deep cox": lambda t: [np.array(t.loss())],
}


@pytest.mark.parametrize("kind", TABLES)
def test_figures_of_added_tables_are_those_of_all_patients_together(kind: str):
    patients = drawn()
    parts = [TABLES[kind](site) for site in patients.sites()]
    assert len(patients.sites()[2].ids) == 0, "an empty hospital adds nothing, and breaks nothing"
    pooled, added = TABLES[kind](patients), total(parts)
    carried = parts[2].filled({name: sum(part.to_arrays()[name] for part in parts) for name in pooled.summed})
    for table in (added, carried):
        for expected, value in zip(FIGURES[kind](pooled), FIGURES[kind](table), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_partition_of_the_patients_changes_a_figure(data: st.DataObject):
    patients = drawn(data.draw(st.integers(1, 60)), data.draw(st.integers(0, 99)))
    kind = data.draw(st.sampled_from([kind for kind in TABLES if kind != "pairs"]))
    sites = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(patients.ids), max_size=len(patients.ids))))
    parts = [TABLES[kind](patients.rows(sites == place)) for place in range(4)]
    with np.errstate(all="ignore"):
        pairs = zip(FIGURES[kind](TABLES[kind](patients)), FIGURES[kind](total(parts)), strict=True)
        for expected, value in pairs:
            np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind not in ("logistic", "cox", "deep cox", "pairs")])
def test_a_replicate_is_the_table_of_patients_repeated(kind: str):
    patients = drawn(80)
    times = weights(patients)[3]
    repeated = patients.rows(np.ones(80, dtype=bool))
    columns = {name: np.repeat(np.asarray(values), times, axis=0) for name, values in vars(repeated).items()}
    again = Patients(**{**columns, "ids": columns["ids"].tolist()})
    once = TABLES[kind](again).row()
    for expected, value in zip(FIGURES[kind](once), FIGURES[kind](TABLES[kind](patients).row(3)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-10)


def test_weights_depend_on_patient_replicate_and_key_alone():
    patients = [f"p{number}" for number in range(400)]
    all_weights = poisson_weights(patients, 300, "key")
    np.testing.assert_array_equal(poisson_weights(patients[7:9], 300, "key"), all_weights[:, 7:9])
    np.testing.assert_array_equal(poisson_weights(patients, 20, "key"), all_weights[:21])
    assert (all_weights[0] == 1).all()
    assert (poisson_weights(patients, 300, "another") != all_weights).any()
    drawn_weights = all_weights[1:]
    assert drawn_weights.mean() == pytest.approx(1, abs=0.01)
    assert drawn_weights.var() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(drawn_weights[:, 0], drawn_weights[:, 1])[0, 1]) < 0.2


def test_hospital_bootstrap_draws_whole_hospitals():
    size = np.array([3, 5, 7, 11])
    labels = [np.ones(count) for count in size]
    sites = [ScoreTable.from_patients(label, label * place / 10, SCORES) for place, label in enumerate(labels)]
    table = hospital_bootstrap(sites, 300, 0)
    np.testing.assert_array_equal(table.row().counts, total(sites).counts)
    times_drawn = table.counts[1:, 1, [0, 10, 20, 30]] / size
    assert (times_drawn == np.rint(times_drawn)).all()
    assert (times_drawn.sum(axis=1) == 4).all()
    assert times_drawn.var() == pytest.approx(0.75, abs=0.1), "of a draw of 4 out of 4"
    np.testing.assert_array_equal(table.counts, hospital_bootstrap(sites, 300, 0).counts)


@pytest.mark.parametrize(("patients", "cells"), [(0, 7), (5, 300), (40, 3)])
def test_counts_and_draws_of_a_mostly_empty_grid_are_those_of_every_cell(patients: int, cells: int):
    rng = np.random.default_rng(0)
    at, weights = rng.integers(0, cells, patients), rng.poisson(1, (9, patients))
    by_hand = [[int(row[at == cell].sum()) for cell in range(cells)] for row in weights]
    np.testing.assert_array_equal(counted(at, cells, weights), by_hand)
    times, scores = Grid(np.arange(3.0)), Grid(np.arange(cells))
    sites = [SurvivalTable.from_patients(at % 2, at % 3, at, times, scores, None) for at in (at[::2], at[1::2])]
    drawn_sites = hospital_bootstrap(sites, 20, 0)
    for row, (first, second) in enumerate(hospital_draws(2, 20, 0)):
        expected = first * sites[0].counts[0] + second * sites[1].counts[0]
        np.testing.assert_array_equal(drawn_sites.counts[row], expected)


@pytest.mark.parametrize(("most", "kind"), [(3, np.uint8), (200, np.uint16)])
def test_counts_of_bytes_are_the_narrowest_that_hold_them(most: int, kind: type):
    at, weights = np.array([1, 1, 4]), np.array([[1, 1, 1], [most, most, 0]])
    narrow = counted(at, 6, weights.astype(np.uint8))
    assert narrow.dtype == kind
    np.testing.assert_array_equal(narrow, counted(at, 6, weights))


def test_sums_by_cell_are_those_of_every_cell_by_hand():
    rng = np.random.default_rng(0)
    at, values = rng.integers(0, 7, 40), rng.normal(size=(3, 2, 40))
    by_hand = np.stack([values[:, :, at == cell].sum(axis=2) for cell in range(9)], axis=2)
    np.testing.assert_allclose(summed(at, 9, values), by_hand, rtol=0, atol=1e-12)
    assert summed(at[:0], 9, values[:, :, :0]).tolist() == np.zeros((3, 2, 9)).tolist()


def test_a_cell_that_the_grid_does_not_have_is_not_counted_elsewhere():
    for cell in (-1, 3):
        with pytest.raises((ValueError, IndexError)):
            counted(np.array([0, cell]), 3, np.ones((1, 2), dtype=np.int64))


def test_tables_of_other_declarations_do_not_add():
    one = ScoreTable.empty(SCORES)
    with pytest.raises(UserError, match="ScoreTable: scores differs; hospitals must share one declaration"):
        one + ScoreTable.empty(Grid.steps(0, 1, 0.1))
    with pytest.raises(UserError, match=r"counts has shape \(1, 2, 11\), declared is \(1, 2, 101\)"):
        one.filled(ScoreTable.empty(Grid.steps(0, 1, 0.1)).to_arrays())
    with pytest.raises(UserError, match="arrays are none, expected counts"):
        one.filled({})
    with pytest.raises(UserError, match="counts holds a value that is not finite"):
        one.filled({"counts": np.full((1, 2, 101), np.nan)})
    with pytest.raises(UserError, match="no table to add"):
        total([])


def test_a_secure_sum_in_floats_comes_back_as_counts():
    table = TABLES["scores"](drawn())
    noisy = {name: array + 1e-7 for name, array in table.to_arrays().items()}
    np.testing.assert_array_equal(table.filled(noisy).counts, table.counts)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99))
def test_figures_of_occupied_times_and_scores_are_those_of_the_whole_grid(count: int, seed: int):
    patients = drawn(count, seed)
    whole = SurvivalTable.from_patients(patients.event, patients.time, patients.risk, DAYS, RISKS, weights(patients))
    part = whole.occupied()
    assert part.counts.size <= whole.counts.size
    np.testing.assert_array_equal(part.outcomes(), whole.outcomes())
    np.testing.assert_allclose(harrell_c(part), harrell_c(whole), rtol=1e-12)
    for days in HORIZONS:
        np.testing.assert_allclose(uno_c(part, days), uno_c(whole, days), rtol=1e-12)
        np.testing.assert_allclose(time_dependent_auc(part, days), time_dependent_auc(whole, days), rtol=1e-12)
        assert part.times.up_to(days) <= whole.times.up_to(days)


def test_nobody_occupies_one_cell():
    part = SurvivalTable.empty(DAYS, RISKS, 3).occupied()
    assert part.counts.shape == (4, 2, 1, 1)
    assert np.isnan(harrell_c(part)).all()
