"""Figures of survival against lifelines, statsmodels and torchsurv, and against every pair of patients."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter, KaplanMeierFitter, NelsonAalenFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import concordance_index, restricted_mean_survival_time
from lifelines.utils.concordance import _concordance_summary_statistics

from foundation.statistics.concordance import harrell_c, harrell_c_bounds, harrell_pairs, time_dependent_auc, uno_c
from foundation.statistics.cox import CoxSums, RiskSums
from foundation.statistics.grid import Grid
from foundation.statistics.horizons import DCalibrationTable, HorizonTable
from foundation.statistics.newton import Newton
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import total
from foundation.statistics.weights import poisson_weights
from tests.foundation.statistics.patients import DAYS, RISKS, Patients, drawn

TIED, APART = drawn(250, seed=5), drawn(250, seed=6, ties=False)
HORIZONS = (5.0, 12.0, 25.0)


def exact_table(patients: Patients) -> SurvivalTable:
    grids = Grid.of_events(patients.event, patients.time), Grid.exact(patients.risk)
    return SurvivalTable.from_patients(patients.event, patients.time, patients.risk, *grids)


@pytest.mark.parametrize("patients", [TIED, APART], ids=["ties", "no ties"])
def test_curves_are_those_of_lifelines(patients: Patients):
    table = exact_table(patients)
    fit = KaplanMeierFitter().fit(patients.time, patients.event)
    curve = table.kaplan_meier()
    times = table.times.values
    np.testing.assert_allclose(curve.value[0], fit.survival_function_at_times(times), rtol=0, atol=1e-9)
    events = fit.event_table.loc[times]
    np.testing.assert_array_equal(curve.at_risk[0], events["at_risk"])
    np.testing.assert_array_equal(curve.events[0], events["observed"])
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(patients.time, patients.event)
    expected = hazard.cumulative_hazard_.loc[times].to_numpy()[:, 0]
    np.testing.assert_allclose(table.nelson_aalen().value[0], expected, rtol=0, atol=1e-9)
    assert table.rmst(20.0)[0][0] == pytest.approx(restricted_mean_survival_time(fit, t=20.0), abs=1e-9)


def test_greenwoods_variance_is_that_of_statsmodels():
    duration = pytest.importorskip("statsmodels.duration.survfunc", reason="an oracle of the test requirements")
    fit = duration.SurvfuncRight(TIED.time, TIED.event)
    table = exact_table(TIED)
    curve = table.kaplan_meier()
    at = np.searchsorted(table.times.values, fit.surv_times)
    alive = fit.surv_prob > 0
    np.testing.assert_allclose(np.sqrt(curve.variance[0, at])[alive], fit.surv_prob_se[alive], rtol=0, atol=1e-9)


def test_variance_of_restricted_mean_is_that_of_its_replicates():
    rng = np.random.default_rng(0)
    weights = np.concatenate([np.ones((1, 250), int), rng.multinomial(250, np.full(250, 1 / 250), 2000)])
    table = SurvivalTable.from_patients(TIED.event, TIED.time, TIED.risk, DAYS, RISKS, weights)
    mean, variance = table.rmst(20.0)
    assert variance[0] == pytest.approx(mean[1:].var(), rel=0.1)


@pytest.mark.parametrize("patients", [TIED, APART], ids=["ties", "no ties"])
def test_log_rank_is_that_of_lifelines(patients: Patients):
    groups = np.digitize(patients.risk, [-0.4, 0.4])
    test = exact_table(patients).by_group([-0.4, 0.4]).log_rank()
    expected = multivariate_logrank_test(patients.time, groups, patients.event)
    assert test.freedom == 2
    assert test.statistic[0] == pytest.approx(expected.test_statistic, abs=1e-9)
    assert test.p()[0] == pytest.approx(expected.p_value, abs=1e-9)


def pairs_c(patients: Patients, weights: np.ndarray) -> float:
    """Concordance over every pair of patients; weights by patient who has the event."""
    won = all_pairs = 0.0
    rows = zip(patients.event, patients.time, patients.risk, weights, strict=True)
    for (e1, t1, r1, weight), (e2, t2, r2, _) in itertools.product(list(rows), repeat=2):
        if e1 and (t1 < t2 or (t1 == t2 and not e2)):
            all_pairs += weight
            won += weight * ((r1 > r2) + 0.5 * (r1 == r2))
    return won / all_pairs


def censoring_before(patients: Patients) -> np.ndarray:
    """G(t-) of each patient: events leave before censorings of the same time."""
    values, curve = {}, 1.0
    for time in np.unique(patients.time):
        values[time] = curve
        here, later = patients.time == time, patients.time > time
        censored = (here & (patients.event == 0)).sum()
        curve *= 1 - censored / (censored + later.sum()) if censored else 1
    return np.array([values[time] for time in patients.time])


@pytest.mark.parametrize("patients", [TIED, APART], ids=["ties", "no ties"])
def test_concordance_is_that_of_lifelines_and_of_every_pair(patients: Patients):
    table = exact_table(patients)
    expected = concordance_index(patients.time, -patients.risk, patients.event)
    assert harrell_c(table)[0] == pytest.approx(expected, abs=1e-12)
    assert harrell_c(table)[0] == pytest.approx(pairs_c(patients, np.ones(250)), abs=1e-12)
    weights = censoring_before(patients) ** -2.0
    assert uno_c(table)[0] == pytest.approx(pairs_c(patients, weights), abs=1e-9)
    early = np.where(patients.time < 15, weights, 0)
    assert uno_c(table, tau=15.0)[0] == pytest.approx(pairs_c(patients, early), abs=1e-9)


def test_concordance_and_areas_are_those_of_torchsurv():
    """To 1e-6, for torchsurv compares scores as float32."""
    cindex = pytest.importorskip("torchsurv.metrics.cindex", reason="an oracle of the test requirements")
    auc = pytest.importorskip("torchsurv.metrics.auc")
    table = exact_table(APART)
    risk, event, time = torch.tensor(APART.risk), torch.tensor(APART.event == 1), torch.tensor(APART.time)
    weights = torch.tensor(1 / censoring_before(APART))
    # A pair's weight is the square of what it takes.
    assert harrell_c(table)[0] == pytest.approx(float(cindex.ConcordanceIndex()(risk, event, time)), abs=1e-6)
    assert uno_c(table)[0] == pytest.approx(float(cindex.ConcordanceIndex()(risk, event, time, weights)), abs=1e-6)
    at = torch.tensor(HORIZONS, dtype=torch.float64)
    expected = auc.Auc()(risk, event, time, new_time=at, weight=weights, weight_new_time=torch.ones(3))
    ours = [time_dependent_auc(table, horizon)[0] for horizon in HORIZONS]
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("times", "scores"), [(2, 0.5), (5, 0.2), (10, 1.0)])
def test_bounds_of_coarse_grids_hold_the_concordance_before_rounding(times: int, scores: float):
    grids = Grid(np.arange(times, 200.0, times), "up"), Grid.steps(-3, 3, scores)
    table = SurvivalTable.from_patients(APART.event, APART.time, APART.risk, *grids)
    low, high = harrell_c_bounds(table)
    assert low[0] <= concordance_index(APART.time, -APART.risk, APART.event) <= high[0]
    assert low[0] <= harrell_c(table)[0] <= high[0]


def predicted(patients: Patients, times: np.ndarray) -> np.ndarray:
    return np.exp(-0.04 * times * np.exp(patients.risk)[:, None])


def test_brier_is_that_of_torchsurv():
    """To 1e-9; its weights are ours, for it takes them."""
    brier = pytest.importorskip("torchsurv.metrics.brier_score", reason="an oracle of the test requirements")
    survival = predicted(APART, np.array(HORIZONS))
    table = HorizonTable.from_patients(
        APART.event, APART.time, survival, Grid.of_events(APART.event, APART.time, HORIZONS), HORIZONS
    )
    reverse = KaplanMeierFitter().fit(APART.time, 1 - APART.event)
    score = brier.BrierScore()
    expected = score(
        torch.tensor(survival),
        torch.tensor(APART.event == 1),
        torch.tensor(APART.time),
        new_time=torch.tensor(HORIZONS, dtype=torch.float64),
        weight=torch.tensor(1 / censoring_before(APART)),
        weight_new_time=torch.tensor(1 / reverse.survival_function_at_times(HORIZONS).to_numpy()),
    )
    np.testing.assert_allclose(table.brier()[0], expected.numpy(), rtol=0, atol=1e-9)
    assert table.integrated_brier()[0] == pytest.approx(float(score.integral()), abs=1e-9)


def test_a_curve_that_tells_nobody_apart_scores_as_kaplan_meier():
    fit = KaplanMeierFitter().fit(TIED.time, TIED.event)
    survival = np.tile(fit.survival_function_at_times(HORIZONS).to_numpy(), (250, 1))
    table = HorizonTable.from_patients(TIED.event, TIED.time, survival, DAYS, HORIZONS)
    np.testing.assert_allclose(table.brier(), table.brier_of_kaplan_meier(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(table.observed_to_expected(), 1, rtol=0, atol=1e-12)


def test_d_calibration_spreads_the_censored_below_their_probability():
    table = DCalibrationTable.from_patients([1, 0, 0], [0.25, 0.25, 0.05], bins=10)
    expected = np.array([0.4 + 1, 0.4, 1 + 0.2, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(table.sums[0], expected, atol=1e-12)
    rng = np.random.default_rng(0)
    time, censored = rng.exponential(1, 4000), rng.exponential(1, 4000)
    survival = np.exp(-np.minimum(time, censored))
    right = DCalibrationTable.from_patients(time <= censored, survival)
    assert right.test().p()[0] > 0.05
    assert DCalibrationTable.from_patients(time <= censored, survival**1.3).test().p()[0] < 1e-6


def cox(sites: list[Patients], times: Grid, ties: str = "efron", stratified: bool = False) -> Newton:
    newton = Newton(3)
    while not newton.done:
        sums = [CoxSums.from_patients(p.event, p.time, p.covariates, times, newton.beta) for p in sites]
        newton.update(total(part.newton(ties) for part in sums) if stratified else total(sums).newton(ties))
    return newton


@pytest.mark.parametrize("stratified", [False, True], ids=["pooled", "by hospital"])
def test_cox_regression_over_hospitals_is_that_of_lifelines_in_one_place(stratified: bool):
    """Ties by Efron; to 1e-7, at which lifelines stops."""
    columns = ["a", "b", "c"]
    rows = pd.DataFrame(TIED.covariates, columns=columns).assign(
        event=TIED.event, time=TIED.time, hospital=TIED.hospital
    )
    strata = ["hospital"] if stratified else None
    rows = rows if stratified else rows.drop(columns="hospital")
    fit = CoxPHFitter().fit(rows, "time", "event", strata=strata, fit_options={"precision": 1e-12})
    newton = cox(TIED.sites(), DAYS, stratified=stratified)
    assert newton.rounds < 9
    np.testing.assert_allclose(newton.beta[0], fit.params_, rtol=0, atol=1e-7)
    np.testing.assert_allclose(newton.standard_error[0], fit.standard_errors_, rtol=0, atol=1e-7)
    assert newton.log_likelihood[0] == pytest.approx(fit.log_likelihood_, abs=1e-7)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_regression_is_that_of_statsmodels(ties: str):
    phreg = pytest.importorskip("statsmodels.duration.hazard_regression", reason="an oracle of the test requirements")
    fit = phreg.PHReg(TIED.time, TIED.covariates, status=TIED.event, ties=ties).fit(tol=1e-13)
    newton = cox(TIED.sites(), DAYS, ties)
    np.testing.assert_allclose(newton.beta[0], fit.params, rtol=0, atol=1e-9)
    np.testing.assert_allclose(newton.standard_error[0], fit.bse, rtol=0, atol=1e-9)


def test_baseline_hazard_is_breslows():
    newton = cox([APART], Grid.exact(APART.time))
    sums = CoxSums.from_patients(APART.event, APART.time, APART.covariates, Grid.exact(APART.time), newton.beta)
    rows = pd.DataFrame(APART.covariates, columns=["a", "b", "c"]).assign(event=APART.event, time=APART.time)
    fit = CoxPHFitter().fit(rows, "time", "event", fit_options={"precision": 1e-12})
    centred = float(rows[["a", "b", "c"]].mean() @ fit.params_)  # lifelines' baseline is at the mean
    expected = fit.baseline_cumulative_hazard_.to_numpy()[:, 0]
    np.testing.assert_allclose(sums.baseline_hazard()[0] * np.exp(centred), expected, rtol=0, atol=1e-7)


def test_the_gradient_of_a_deep_cox_loss_over_hospitals_is_that_of_autograd():
    eta = torch.tensor(TIED.risk, requires_grad=True)
    time, seen = torch.tensor(TIED.time), torch.tensor(TIED.event == 1)
    at_risk = time[None] >= time[seen][:, None]
    loss = (eta[None].masked_fill(~at_risk, -torch.inf).logsumexp(dim=1) - eta[seen]).mean()
    loss.backward()
    sites = TIED.sites()
    pooled = total(RiskSums.from_patients(p.event, p.time, p.risk, DAYS) for p in sites)
    assert pooled.loss() == pytest.approx(loss.item(), abs=1e-12)
    for place, site in enumerate(sites):
        expected = eta.grad.numpy()[TIED.hospital == place]
        np.testing.assert_allclose(pooled.gradient(site.event, site.time, site.risk), expected, rtol=0, atol=1e-12)


def test_followup_past_the_last_grid_time_is_censored_there():
    table = SurvivalTable.from_patients([1, 1, 0], [5, 100, 200], [0, 0, 0], DAYS, Grid(np.zeros(1)))
    assert table.outcomes()[0].tolist() == [2, 1]
    assert table.counts[0, 0, -1, 0] == 2


def test_without_events_nothing_is_defined():
    table = SurvivalTable.from_patients(np.zeros(5), TIED.time[:5], TIED.risk[:5], DAYS, RISKS)
    for value in (harrell_c(table), uno_c(table), time_dependent_auc(table, 10.0), *harrell_c_bounds(table)):
        assert np.isnan(value).all()
    assert (table.kaplan_meier().value[0, :5] == 1).all()


@pytest.mark.parametrize("patients", [TIED, APART], ids=["ties", "no ties"])
def test_a_grid_of_event_times_alone_changes_no_figure(patients: Patients):
    survival = predicted(patients, np.array(HORIZONS))
    fine, few = (Grid.exact([*patients.time, *HORIZONS]), Grid.of_events(patients.event, patients.time, HORIZONS))
    tables = [
        SurvivalTable.from_patients(patients.event, patients.time, patients.risk, times, Grid.exact(patients.risk))
        for times in (fine, few)
    ]
    for figure in (harrell_c, uno_c, *(lambda t, h=h: time_dependent_auc(t, h) for h in HORIZONS)):
        expected, value = (figure(table)[0] for table in tables)
        assert value == pytest.approx(expected, abs=1e-12)
    expected, value = (
        HorizonTable.from_patients(patients.event, patients.time, survival, times, HORIZONS) for times in (fine, few)
    )
    np.testing.assert_allclose(value.brier(), expected.brier(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(value.observed_to_expected(), expected.observed_to_expected(), rtol=0, atol=1e-12)
    assert tables[0].rmst(20.0)[0] == pytest.approx(tables[1].rmst(20.0)[0], abs=1e-9)


def test_pairs_are_the_same_by_cells_and_on_the_grid(monkeypatch: pytest.MonkeyPatch):
    weights = poisson_weights(TIED.ids, 5, "test")
    table = SurvivalTable.from_patients(TIED.event, TIED.time, TIED.risk, DAYS, RISKS, weights)
    figures = {}
    for sparse in (0, 10**9):
        monkeypatch.setattr("foundation.statistics.concordance._SPARSE", sparse)
        figures[sparse] = [harrell_c(table), uno_c(table, 20.0)]
    np.testing.assert_allclose(figures[0], figures[10**9], rtol=0, atol=1e-12)


def test_concordance_within_hospitals_compares_nobody_across():
    sites = TIED.sites()
    within = total(harrell_pairs(SurvivalTable.from_patients(p.event, p.time, p.risk, DAYS, RISKS)) for p in sites)
    counts = [concordance_summary(site) for site in sites if site.event.any()]
    assert within.c()[0] == pytest.approx(sum(won for won, _ in counts) / sum(pairs for _, pairs in counts), abs=1e-12)


def concordance_summary(patients: Patients) -> tuple[float, float]:
    correct, tied, pairs = _concordance_summary_statistics(patients.time, -patients.risk, patients.event)
    return correct + tied / 2, pairs
