"""What each kind of task counts, the figures that come of it at one place, and over hospitals the same."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from sklearn.metrics import average_precision_score, roc_auc_score

from finetune.federated.figures import ALL
from finetune.federated.figures import figures as federated_figures
from finetune.figures import Resampling, figures
from finetune.statistics.base import TaskStatistics
from finetune.statistics.binary import BinaryStatistics, MultiLabelStatistics
from finetune.statistics.cause import CauseStatistics
from finetune.statistics.competing import CompetingStatistics
from finetune.statistics.multiclass import MulticlassStatistics
from finetune.statistics.regression import RegressionStatistics
from finetune.statistics.survival import SurvivalStatistics
from foundation.statistics.figure import Support
from foundation.statistics.hospitals import hospital_bootstrap
from foundation.statistics.table import total
from foundation.statistics.weights import poisson_weights

RNG = np.random.default_rng(0)
COUNT = 120
HOSPITALS = RNG.choice(["alder", "birch", "cedar", "dogwood"], COUNT).tolist()
PATIENTS = [f"p{number}" for number in range(COUNT)]
LABEL = (RNG.random(COUNT) < 0.4).astype(float)
LABEL[np.array(HOSPITALS) == "alder"] = 1  # a hospital of one class
CHANCE = np.clip(0.3 + 0.3 * LABEL + RNG.normal(0, 0.2, COUNT), 0, 1)
RISK = RNG.normal(0, 1, COUNT)
DAYS = np.ceil(RNG.exponential(900 * np.exp(-RISK)))
EVENT = (RNG.random(COUNT) < 0.6).astype(float)
EVENT[np.array(HOSPITALS) == "birch"] = 0  # a hospital without events
GRADE = RNG.integers(0, 3, COUNT).astype(float)
GRADES = RNG.dirichlet(np.ones(3), COUNT) * 0.8 + 0.2 * np.eye(3)[GRADE.astype(int)]
UNKNOWN = np.where(RNG.random(COUNT) < 0.2, np.nan, 1 - LABEL)
BASELINE = np.linspace(10.0, 3000, 60), np.linspace(0.01, 2, 60)
CAUSE = np.where(EVENT == 1, 1 + (RNG.random(COUNT) < 0.3), 0.0)
EDGES = [200, 400, 800, 1600]
SHARE = 1 - np.exp(-np.exp(RISK)[:, None] * np.array(EDGES) / 900)
INCIDENCE = np.concatenate([0.6 * SHARE, 0.2 * SHARE[::-1]], axis=1)
CAUSES = [
    CauseStatistics("cause", 1, "disease", "days", [365, 1095], EDGES, [-1.0, 0.0]),
    CauseStatistics("cause", 2, "other", "days", [365, 1095], EDGES, [-2.0, -1.0]),
]
TARGETS = {"label": LABEL, "other": UNKNOWN, "event": EVENT, "days": DAYS, "grade": GRADE, "cause": CAUSE}

KINDS: dict[str, tuple[TaskStatistics, np.ndarray]] = {
    "binary": (BinaryStatistics("label", "mutant"), CHANCE),
    "multi-label": (MultiLabelStatistics(["label", "other"]), np.stack([CHANCE, 1 - CHANCE], axis=1)),
    "classes": (MulticlassStatistics("grade", ["G2", "G3", "G4"]), GRADES),
    "survival": (SurvivalStatistics("event", "days", [365, 1095], BASELINE, cuts=[-0.5, 0.5]), RISK),
    "competing risks": (CompetingStatistics(CAUSES), INCIDENCE),
    "quantity": (RegressionStatistics("days", 900.0), 900 - 300 * RISK),
}


def rows(inside: np.ndarray) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    places = np.flatnonzero(inside)
    chosen = {name: column[inside] for name, column in TARGETS.items()}
    return chosen, [HOSPITALS[place] for place in places], [PATIENTS[place] for place in places]


@pytest.mark.parametrize("kind", KINDS)
def test_measures_of_hospitals_tables_added_are_those_of_one_place(kind: str):
    statistics, estimates = KINDS[kind]
    weights = poisson_weights(PATIENTS, 3, "0")
    pooled = statistics.measures(statistics.tables(TARGETS, estimates, HOSPITALS, weights), Support())
    parts = []
    for hospital in (*sorted(set(HOSPITALS)), "one that has nobody"):
        inside = np.array(HOSPITALS) == hospital
        targets, hospitals, patients = rows(inside)
        parts.append(statistics.tables(targets, estimates[inside], hospitals, poisson_weights(patients, 3, "0")))
    added = statistics.measures({name: total(part[name] for part in parts) for name in parts[0]}, Support())
    declared = statistics.empty(3)
    assert list(declared) == list(parts[0])
    for name, table in declared.items():  # as a server adds what hospitals sent
        sums = {array: sum(part[name].to_arrays()[array] for part in parts) for array in table.to_arrays()}
        for array, values in table.filled(sums).to_arrays().items():
            np.testing.assert_array_equal(values, sums[array])
    assert next(iter(pooled)) == statistics.primary
    for name, measure in pooled.items():
        np.testing.assert_allclose(added[name].values, measure.values, rtol=1e-10, atol=1e-10, err_msg=name)
        assert (added[name].n, added[name].outcomes) == (measure.n, measure.outcomes)


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_hospitals_is_drawing_their_tables(kind: str):
    statistics, estimates = KINDS[kind]
    shown = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 20, 3, exact=False))
    parts = []
    for hospital in sorted(set(HOSPITALS)):
        inside = np.array(HOSPITALS) == hospital
        targets, hospitals, _ = rows(inside)
        parts.append(statistics.tables(targets, estimates[inside], hospitals))
    tables = {name: hospital_bootstrap([part[name] for part in parts], 20, 3) for name in parts[0]}
    for name, measure in statistics.measures(tables, Support()).items():
        if not measure.single:
            np.testing.assert_allclose(shown.by_hospital[name], measure.values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_mean_over_labels_is_of_the_same_labels_in_all_replicates_however_they_are_cut_into_blocks(monkeypatch):
    rare = np.zeros(COUNT)
    rare[:5] = 1  # as many as the support asks for; replicates have more or fewer
    statistics, targets = MultiLabelStatistics(["label", "rare"]), {"label": LABEL, "rare": rare}
    arguments = targets, KINDS["multi-label"][1], PATIENTS, HOSPITALS, Resampling(Support(), 20, 0, exact=False)
    together = figures(statistics, *arguments)
    monkeypatch.setattr("finetune.figures._BLOCK", 1)
    one_by_one = figures(statistics, *arguments)
    for name in ("auc", "brier"):
        by_label = [together.by_patient[f"{name}/{label}"] for label in ("label", "rare")]
        np.testing.assert_allclose(together.by_patient[name], np.nanmean(by_label, axis=0), rtol=1e-12)
        np.testing.assert_allclose(one_by_one.by_patient[name], together.by_patient[name], rtol=1e-12)
        np.testing.assert_allclose(one_by_one.by_hospital[name], together.by_hospital[name], rtol=1e-12)


def exact(kind: str, replicates: int = 0) -> dict[str, float | None]:
    statistics, estimates = KINDS[kind]
    shown = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), replicates, 0))
    return {name: shown.figure(name).value for name in shown.measures}


def test_exact_figures_are_those_of_the_libraries():
    assert exact("binary")["auc"] == pytest.approx(roc_auc_score(LABEL, CHANCE), abs=1e-12)
    assert exact("binary")["auprc"] == pytest.approx(average_precision_score(LABEL, CHANCE), abs=1e-12)
    assert exact("survival")["c_index"] == pytest.approx(concordance_index(DAYS, -RISK, EVENT), abs=1e-12)
    ranked = [concordance_index(DAYS, -INCIDENCE[:, 4 * place + 2], place + 1 == CAUSE) for place in range(2)]
    assert exact("competing risks")["c_index/disease"] == pytest.approx(
        ranked[0], abs=2e-3
    )  # interpolated to 1095 days
    assert exact("competing risks")["c_index"] == pytest.approx(np.mean(ranked), abs=2e-3)
    known = ~np.isnan(UNKNOWN)
    areas = [roc_auc_score(LABEL, CHANCE), roc_auc_score(UNKNOWN[known], 1 - CHANCE[known])]
    assert exact("multi-label")["auc"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert exact("multi-label")["auc/other"] == pytest.approx(areas[1], abs=1e-12)
    expected = roc_auc_score(GRADE, GRADES, multi_class="ovr", average="macro")
    assert exact("classes")["auc"] == pytest.approx(expected, abs=1e-12)


def test_declared_grids_change_figures_by_little():
    for kind in ("binary", "survival", "competing risks"):
        statistics, estimates = KINDS[kind]
        rounded = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 0, 0, exact=False))
        assert rounded.figure(statistics.primary).value == pytest.approx(exact(kind)[statistics.primary], abs=0.01)


def test_intervals_hold_the_value_and_name_what_they_are():
    statistics, estimates = KINDS["survival"]
    shown = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 200, 0))
    figure, new = shown.figure("c_index"), shown.new_hospital("c_index")
    assert figure.low < figure.value < figure.high
    assert (figure.interval, new.interval) == (
        "95 % percentile, patient bootstrap",
        "95 % percentile, hospital bootstrap",
    )
    assert figure.replicates == 200
    assert shown.figure("d_calibration_p").low is None
    again = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 200, 0))
    assert again.figure("c_index") == figure


def test_three_patients_have_no_figure_and_two_hospitals_no_interval_for_a_new_one():
    statistics, estimates = KINDS["survival"]
    few = np.arange(COUNT) < 3
    targets, hospitals, patients = rows(few)
    shown = figures(statistics, targets, estimates[few], patients, hospitals, Resampling(Support(), 50, 0))
    figure = shown.figure("c_index")
    assert (figure.value, figure.reason) == (None, "3 patients, of 10 that it takes")
    two = np.isin(HOSPITALS, ["cedar", "dogwood"])
    targets, hospitals, patients = rows(two)
    shown = figures(statistics, targets, estimates[two], patients, hospitals, Resampling(Support(), 50, 0))
    assert shown.figure("c_index").value is not None
    assert shown.new_hospital("c_index").reason == "2 hospitals, of 3 that it takes"


def test_a_label_below_the_support_leaves_the_mean():
    statistics = MultiLabelStatistics(["label", "other"])
    targets = {"label": LABEL, "other": np.where(np.arange(COUNT) < 5, UNKNOWN, np.nan)}
    estimates = np.stack([CHANCE, CHANCE], axis=1)
    shown = figures(statistics, targets, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 0, 0))
    assert shown.figure("auc").value == shown.figure("auc/label").value
    assert shown.figure("auc").estimator.startswith("mean over 1 of 2: AUROC")
    assert shown.figure("auc/other").value is None


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_a_row_a_patient_and_output(kind: str):
    statistics, estimates = KINDS[kind]
    table = statistics.predictions(TARGETS, estimates)
    outputs = list(dict.fromkeys(row["output"] for row in table))
    assert len(table) == COUNT * len(outputs)
    assert [row["output"] for row in table[: len(outputs)]] == outputs
    assert set(table[0]) == {"output", "label", "prediction", "probability"}


def test_a_patient_censored_before_a_horizon_has_no_label_there():
    statistics, _ = KINDS["survival"]
    targets = {"event": np.array([1.0, 0, 0]), "days": np.array([100.0, 100, 2000])}
    table = statistics.predictions(targets, np.zeros(3))
    assert [row["label"] for row in table] == [1, 1, None, None, 0, 0]
    assert table[0]["output"] == "event by 365 days"
    hazard = np.interp(365, *BASELINE)
    assert table[0]["probability"] == pytest.approx(1 - np.exp(-hazard), abs=0.02)


def test_calibration_of_survival_is_by_risk_group():
    statistics, estimates = KINDS["survival"]
    curve = statistics.curves(statistics.exact(TARGETS, estimates).tables(TARGETS, estimates, HOSPITALS))
    low = curve["calibration"][0]
    inside = estimates < -0.5
    assert low["patients"] == inside.sum()
    fit = KaplanMeierFitter().fit(DAYS[inside], EVENT[inside])
    assert low["observed"] == pytest.approx((1 - fit.survival_function_at_times([365, 1095])).tolist(), abs=1e-9)
    predicted = 1 - statistics.survival(estimates[inside], np.array([365.0, 1095]))
    assert low["predicted"] == pytest.approx(predicted.mean(axis=0).tolist(), abs=1e-12)
    group = curve["kaplan_meier"][0]
    assert group["at_risk"][0] == inside.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_hospitals_tables_are_those_of_one_place_intervals_and_all(kind: str):
    statistics, estimates = KINDS[kind]
    weights = poisson_weights(PATIENTS, 30, "0")
    by_site = {}
    for hospital in ("dogwood", "birch", "alder", "cedar"):  # as a federation lists them
        inside = np.array(HOSPITALS) == hospital
        targets, hospitals, _ = rows(inside)
        by_site[hospital] = {ALL: statistics.tables(targets, estimates[inside], hospitals, weights[:, inside])}
    names = by_site["alder"][ALL]
    tables = {ALL: {name: total(tables[ALL][name] for tables in by_site.values()) for name in names}}
    result = federated_figures(statistics, tables, by_site, 30, 0, Support())
    shown = figures(statistics, TARGETS, estimates, PATIENTS, HOSPITALS, Resampling(Support(), 30, 0, exact=False))
    for name in shown.measures:
        for figure, row in (
            (shown.figure(name), result["overall"][name]),
            (shown.new_hospital(name), result["new_hospital"][name]),
        ):
            assert (row["interval"], row["replicates"], row["reason"]) == (
                figure.interval,
                figure.replicates,
                figure.reason,
            )
            expected = [figure.value, figure.low, figure.high]
            assert [row["value"], row["low"], row["high"]] == pytest.approx(expected, abs=1e-9)
