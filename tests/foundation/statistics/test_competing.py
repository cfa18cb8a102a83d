"""Events of several causes, each figure against lifelines or a sum over patients and pairs, written out."""

import numpy as np
import pytest
from lifelines import AalenJohansenFitter, KaplanMeierFitter

from foundation.statistics.competing import CauseTable, IncidenceTable
from foundation.statistics.concordance import harrell_c, uno_c
from foundation.statistics.grid import Grid
from foundation.statistics.horizons import HorizonTable
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import total

RNG = np.random.default_rng(0)
COUNT = 150
KIND = RNG.choice([0.0, 1.0, 2.0], COUNT, p=[0.4, 0.4, 0.2])
TIED = np.ceil(RNG.exponential(400, COUNT) / 50) * 50
DISTINCT = RNG.permutation(np.arange(10.0, 10 + 7 * COUNT, 7))
SCORE = np.round(RNG.normal(0, 1, COUNT), 1)  # with ties
CHANCE = np.clip(RNG.uniform(0, 0.8, (COUNT, 2)).cumsum(axis=1) / 2, 0, 1)
HORIZONS = (200.0, 500.0)


def table(kind: np.ndarray, time: np.ndarray, score: np.ndarray = SCORE) -> CauseTable:
    grids = Grid.of_events(kind > 0, time, HORIZONS), Grid.exact(score)
    return CauseTable.from_patients(kind, time, score, *grids)


def incidence_table(kind: np.ndarray, time: np.ndarray, chance: np.ndarray = CHANCE) -> IncidenceTable:
    return IncidenceTable.from_patients(kind, time, chance, Grid.of_events(kind > 0, time, HORIZONS), HORIZONS)


def not_censored(kind: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G(t-) of each patient, and G at the horizons, by lifelines; events leave before censorings."""
    later = np.where(kind == 0, np.nextafter(time, np.inf), time)
    curve = KaplanMeierFitter().fit(later, kind == 0)
    before = curve.survival_function_at_times(np.nextafter(later, 0)).to_numpy()
    return before, curve.survival_function_at_times(np.nextafter(HORIZONS, np.inf)).to_numpy()


def test_incidence_is_that_of_lifelines_for_each_cause():
    cause = table(KIND, DISTINCT)
    swapped = np.where(KIND > 0, 3 - KIND, 0)
    for code, mine in ((1, cause), (2, table(swapped, DISTINCT))):
        oracle = AalenJohansenFitter(calculate_variance=False).fit(DISTINCT, KIND.astype(int), event_of_interest=code)
        for days in (100.0, 200.0, 500.0, 900.0):
            reference = oracle.cumulative_density_.loc[:days].iloc[-1, 0]
            assert mine.incidence_at(days)[0] == pytest.approx(reference, abs=1e-12)


def test_the_variance_of_incidence_is_that_of_lifelines():
    cause = table(KIND, DISTINCT)
    oracle = AalenJohansenFitter().fit(DISTINCT, KIND.astype(int), event_of_interest=1)
    variance = cause.incidence_variance()[0]
    for days in (100.0, 200.0, 500.0, 900.0):
        reference = oracle.variance_.loc[:days].iloc[-1]
        assert variance[cause.times.up_to(days) - 1] == pytest.approx(reference, rel=1e-9)


def test_without_other_causes_the_variance_of_incidence_is_greenwoods():
    kind = np.where(KIND == 2, 0.0, KIND)
    cause = table(kind, TIED)
    curve = cause.any_event().kaplan_meier()
    known = ~np.isnan(curve.value[0]) & (curve.value[0] > 0)
    np.testing.assert_allclose(cause.incidence_variance()[0, known], curve.variance[0, known], rtol=1e-9, atol=1e-15)


def test_incidences_and_survival_come_to_one_also_with_ties():
    cause, other = table(KIND, TIED), table(np.where(KIND > 0, 3 - KIND, 0), TIED)
    alive = cause.any_event().kaplan_meier().value
    known = ~np.isnan(alive)
    np.testing.assert_allclose((cause.incidence() + other.incidence() + alive)[known], 1, rtol=1e-12)


def test_without_other_causes_all_figures_are_those_of_survival():
    kind = np.where(KIND == 2, 0.0, KIND)
    times, scores = Grid.of_events(kind, TIED, HORIZONS), Grid.exact(SCORE)
    cause, survival = table(kind, TIED), SurvivalTable.from_patients(kind, TIED, SCORE, times, scores)
    np.testing.assert_allclose(1 - cause.incidence(), survival.kaplan_meier().value, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(harrell_c(cause.of_cause()), harrell_c(survival), rtol=1e-12)
    np.testing.assert_allclose(cause.concordance(500), uno_c(survival, 500), rtol=1e-12)
    ours, theirs = incidence_table(kind, TIED), HorizonTable.from_patients(kind, TIED, 1 - CHANCE, times, HORIZONS)
    np.testing.assert_allclose(ours.brier(), theirs.brier(), rtol=1e-9)
    np.testing.assert_allclose(ours.brier_of_incidence(), theirs.brier_of_kaplan_meier(), rtol=1e-9)
    np.testing.assert_allclose(ours.integrated_brier(), theirs.integrated_brier(), rtol=1e-9)
    np.testing.assert_allclose(ours.observed() / ours.predicted(), theirs.observed_to_expected(), rtol=1e-9)


@pytest.mark.parametrize("time", [TIED, DISTINCT], ids=["tied", "distinct"])
def test_brier_and_auc_are_sums_over_patients_with_weights_of_lifelines(time: np.ndarray):
    before, at = not_censored(KIND, time)
    brier, auc = incidence_table(KIND, time).brier()[0], table(KIND, time)
    for place, days in enumerate(HORIZONS):
        weight = np.where((time <= days) & (KIND > 0), 1 / before, np.where(time > days, 1 / at[place], 0))
        label = ((time <= days) & (KIND == 1)).astype(float)
        assert brier[place] == pytest.approx((weight * (label - CHANCE[:, place]) ** 2).mean(), abs=1e-12)
        pairs = np.outer(weight * label, weight * (1 - label))
        won = (SCORE[:, None] > SCORE) + 0.5 * (SCORE[:, None] == SCORE)
        assert auc.auc(days)[0] == pytest.approx((pairs * won).sum() / pairs.sum(), abs=1e-12)


@pytest.mark.parametrize("time", [TIED, DISTINCT], ids=["tied", "distinct"])
def test_concordance_is_a_sum_over_pairs_with_weights_of_lifelines(time: np.ndarray):
    before, _ = not_censored(KIND, time)
    won = pairs = 0.0
    for i in np.flatnonzero((KIND == 1) & (time < 500)):
        for j in range(COUNT):
            if time[j] > time[i] or (time[j] == time[i] and KIND[j] == 0):
                weight = before[i] ** -2
            elif KIND[j] == 2:
                weight = 1 / (before[i] * before[j])
            else:
                continue
            pairs += weight
            won += weight * ((SCORE[i] > SCORE[j]) + 0.5 * (SCORE[i] == SCORE[j]))
    assert table(KIND, time).concordance(500)[0] == pytest.approx(won / pairs, abs=1e-12)


def test_hospitals_tables_add_up_to_that_of_all_with_replicates():
    weights = RNG.poisson(1, (4, COUNT))
    times, scores = Grid.months(3), Grid.steps(-4, 4, 0.1)
    parts, declared = np.arange(COUNT) % 3, (times, scores)
    whole = CauseTable.from_patients(KIND, TIED, SCORE, *declared, weights)
    summed = total(
        CauseTable.from_patients(KIND[rows], TIED[rows], SCORE[rows], *declared, weights[:, rows])
        for rows in (parts == part for part in range(4))
    )
    np.testing.assert_array_equal(summed.counts, whole.counts)
    for replicate in range(4):
        repeated = np.repeat(np.arange(COUNT), weights[replicate])
        again = CauseTable.from_patients(KIND[repeated], TIED[repeated], SCORE[repeated], *declared)
        assert again.concordance(500)[0] == pytest.approx(whole.concordance(500)[replicate], abs=1e-12)
        assert again.auc(500.0)[0] == pytest.approx(whole.auc(500.0)[replicate], abs=1e-12)


def test_a_table_without_the_cause_has_no_concordance():
    nobody = table(np.where(KIND == 1, 0.0, KIND), TIED)
    assert np.isnan(nobody.concordance()).all() and np.isnan(nobody.auc(200.0)).all()
    assert nobody.incidence_at(200.0)[0] == 0
