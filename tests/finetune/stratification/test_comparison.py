"""Groups against lifelines; and hospitals' tables, added, against the pooled ones."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import restricted_mean_survival_time

from finetune.stratification.comparison import Comparison, table_of
from foundation.statistics.table import total
from tests.foundation.statistics.patients import DAYS, drawn

PATIENTS = drawn(300, seed=2)
GROUP = np.digitize(PATIENTS.risk, [-0.4, 0.4]).astype(float)
NAMES = ("low", "middle", "high")
WHOLE = Comparison(table_of(PATIENTS.event, PATIENTS.time, GROUP, 3), NAMES)


def test_hazard_ratios_and_intervals_are_those_of_lifelines():
    frame = pd.DataFrame({"t": PATIENTS.time, "e": PATIENTS.event, "m": GROUP == 1, "h": GROUP == 2}).astype(float)
    fit = CoxPHFitter().fit(frame, "t", "e", fit_options={"precision": 1e-12})
    for column, name in (("m", "middle"), ("h", "high")):
        figure = WHOLE.hazard_ratios()[f"hazard_ratio/{name}"]
        expected = np.exp(fit.confidence_intervals_.loc[column]).tolist()
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (fit.hazard_ratios_[column], *expected), rel=1e-7
        )


def test_log_rank_survival_and_mean_survival_are_those_of_lifelines():
    test = multivariate_logrank_test(PATIENTS.time, GROUP, PATIENTS.event)
    assert WHOLE.log_rank().value == pytest.approx(test.p_value, rel=1e-9)
    figures = WHOLE.at(20.0)
    means = []
    for group, name in enumerate(NAMES):
        rows = group == GROUP
        fit = KaplanMeierFitter().fit(PATIENTS.time[rows], PATIENTS.event[rows])
        assert figures[f"survival/20_days/{name}"].value == pytest.approx(float(fit.predict(20.0)), abs=1e-9)
        mean = restricted_mean_survival_time(fit, t=20.0)
        means.append(mean)
        assert figures[f"rmst/20_days/{name}"].value == pytest.approx(mean, abs=1e-9)
    gap = figures["rmst_difference/20_days/high"]
    assert gap.value == pytest.approx(means[2] - means[0], abs=1e-9)
    assert gap.low < gap.value < gap.high


def test_hospitals_tables_add_up_to_the_pooled_figures():
    sites = [site for site in PATIENTS.sites() if len(site.ids)]
    parts = [
        table_of(site.event, site.time, np.digitize(site.risk, [-0.4, 0.4]).astype(float), 3, DAYS) for site in sites
    ]
    pooled = table_of(PATIENTS.event, PATIENTS.time, GROUP, 3, DAYS)
    added, whole = Comparison(total(parts), NAMES).figures([20.0]), Comparison(pooled, NAMES).figures([20.0])
    assert added == whole
    exact = WHOLE.figures([20.0])  # the grid's days are those of the patients
    assert {name: figure.value for name, figure in exact.items()} == pytest.approx(
        {name: figure.value for name, figure in whole.items()}, rel=1e-9
    )


def test_patients_at_risk_are_those_not_gone_before():
    days = np.array([0.0, 1.0, 10.0, 59.5, 61.0])
    expected = [[int(((group == GROUP) & (PATIENTS.time >= day)).sum()) for day in days] for group in range(3)]
    np.testing.assert_array_equal(WHOLE.at_risk(days), expected)


def test_a_group_of_few_has_no_figures_but_a_reason():
    few = GROUP.copy()
    few[few == 2] = 1
    few[:3] = 2
    figures = Comparison(table_of(PATIENTS.event, PATIENTS.time, few, 3), NAMES).figures([20.0])
    assert figures["hazard_ratio/high"].value is None and "fewer than 5 events" in figures["hazard_ratio/high"].reason
    assert figures["hazard_ratio/middle"].value is not None
    assert figures["survival/20_days/high"].value is None
    assert figures["rmst_difference/20_days/high"].reason == "too few of a group at risk at 20 days"
    gone = Comparison(table_of(np.ones(300), PATIENTS.time, GROUP, 3), NAMES).at(60.5)
    assert (gone["survival/60.5_days/high"].value, gone["survival/60.5_days/high"].high) == (0, 0)
    mean = PATIENTS.time[GROUP == 2].mean()
    assert gone["rmst/60.5_days/high"].value == pytest.approx(mean)
    one = Comparison(table_of(PATIENTS.event, PATIENTS.time, np.zeros(300), 3), NAMES).figures([20.0])
    assert one["log_rank_p"].reason == "all patients are in one group"
