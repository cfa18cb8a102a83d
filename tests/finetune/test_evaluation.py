"""The tables of an evaluation, on a small cohort and a model nobody trained."""

import json

import numpy as np
import pandas as pd
import pytest

from finetune.evaluate import as_markdown
from finetune.evaluation import Evaluator
from finetune.heads.survival import Survival
from foundation.data.splits import split
from foundation.errors import UserError


@pytest.fixture(scope="module")
def evaluator(build, cohort) -> Evaluator:
    parts = split(cohort, ["lakeview", "summit"], 0.15, 0)
    return Evaluator(build(), cohort, parts.train, parts.test, resamples=20, seed=0)


@pytest.fixture(scope="module")
def found(evaluator) -> dict:
    return evaluator.run()


def rows(cohort, *hospitals):
    return cohort.patients[cohort.patients["hospital"].isin(hospitals)]


def usable(table, *names):
    return table[list(names)].astype(bool).any(axis=1)


def test_only_the_test_hospitals_patients_with_something_to_look_at_count(found, cohort):
    table = rows(cohort, "lakeview", "summit")
    table = table[usable(table, "genomics", "report", "record")]
    assert found["n"] == len(table)
    assert found["events"] == int(table["biomarker"].sum())
    assert set(found["overall"]) == {"auc", "auprc", "brier", "ece"}


def test_hospitals_add_up_to_the_whole(found, cohort):
    groups = found["by_hospital"]
    assert list(groups) == ["lakeview", "summit"]
    assert sum(group["n"] for group in groups.values()) == found["n"]
    assert sum(group["events"] for group in groups.values()) == found["events"]


def test_each_modality_is_judged_on_the_patients_who_have_it(found, cohort):
    table = rows(cohort, "lakeview", "summit")
    names = ["genomics", "report", "record"]
    expected = {"all": usable(table, *names).sum()}
    expected |= {f"{name} alone": usable(table, name).sum() for name in names}
    expected |= {f"all but {name}": usable(table, *(other for other in names if other != name)).sum() for name in names}
    assert {label: group["n"] for label, group in found["by_modality"].items()} == expected
    assert found["by_modality"]["all"]["auc"] == found["overall"]["auc"]


def test_groups_of_each_kind_add_up_to_the_whole(found):
    assert set(found["by_group"]) == {"sex", "age", "has"}
    assert set(found["by_group"]["age"]) <= {"under 50", "50 to under 65", "65 and over", "unknown"}
    for levels in found["by_group"].values():
        assert sum(group["n"] for group in levels.values()) == found["n"]
        for group in levels.values():
            assert (group["auc"]["value"] is None) == ("reason" in group["auc"])
            assert group["n"] >= 10 or group["auc"]["value"] is None


def test_every_figure_says_what_it_rests_on(evaluator, found):
    rows = evaluator.results()["figures"]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["estimator"] and row["n"] is not None
        assert (row["split"], row["seed"]) == ("test", 0)
        assert evaluator.cohort.digest[:12] in row["source"]
        assert (row["value"] is None) <= (row["reason"] is not None)
        assert (row["low"] is None) == (row["interval"] is None)
    whole = {row["metric"]: row for row in rows if row["id"].startswith("biomarker/model/all/all/all/")}
    for name, interval in found["overall"].items():
        assert [whole[name][key] for key in ("value", "low", "high")] == list(interval.values())[:3]
    assert {"log_loss", "balanced_accuracy", "f1", "sensitivity_at_specificity", "calibration_slope"} <= set(whole)
    assert {row["subset"] for row in rows} == set(found["by_modality"])
    assert {row["model"] for row in rows} == {"model", "age and sex"}
    json.dumps(evaluator.results(), allow_nan=False)


def test_comparisons_are_paired_and_corrected_for_their_number(evaluator, found):
    tests = {(row["metric"], row["test"]): row for row in evaluator.results()["comparisons"]}
    gain = tests["auc", "paired bootstrap over patients, percentile"]
    assert gain["value"] == found["baseline"]["gain"]["auc"]["value"]
    assert tests["auc", "DeLong, paired"]["value"] == pytest.approx(gain["value"], abs=1e-12)
    assert all(row["p_holm"] >= row["p"] for row in tests.values() if row["p"] is not None)


def test_predictions_are_of_every_patient_and_subset(evaluator, found):
    table = pd.concat(evaluator.predictions)
    assert set(table["subset"]) == set(found["by_modality"])
    whole = table[table["subset"] == "all"].set_index("patient")
    assert list(whole.index) == evaluator.test
    np.testing.assert_array_equal(whole["probability"], evaluator.test_estimates)
    labels = evaluator.cohort.patients.loc[evaluator.test, "biomarker"]
    np.testing.assert_array_equal(whole["label"], labels)


def test_a_subgroup_that_no_column_names_is_one_line(build, cohort):
    parts = split(cohort, ["summit"], 0.15, 0)
    evaluator = Evaluator(build(), cohort, parts.train, parts.test, resamples=5, subgroups=["shoe_size"])
    with pytest.raises(UserError, match="subgroups: .* has no column 'shoe_size'; it has"):
        evaluator.run()


def test_a_patient_with_hidden_genes_alone_is_left_out(build, cohort, monkeypatch):
    parts = split(cohort, ["summit"], 0.15, 0)
    patient = next(p for p in parts.test if cohort.patients.loc[p, "genomics"])
    genes = cohort.dictionary.genes
    only_hidden = {name: np.full(len(genes), np.nan, np.float32) for name in ("expression", "copy_number")}
    only_hidden["mutations"] = np.where(np.array(genes) == genes[0], 1, np.nan).astype(np.float32)
    sample = cohort.sample
    monkeypatch.setattr(
        cohort, "sample", lambda p, *some: {"genomics": only_hidden} if p == patient else sample(p, *some)
    )
    evaluator = Evaluator(build(drop_inputs={"mutations": [genes[0]]}), cohort, parts.train, parts.test, resamples=5)
    assert patient not in evaluator.test
    assert patient in Evaluator(build(), cohort, parts.train, parts.test).test
    assert np.isfinite(evaluator.estimates(parts.test, ["genomics"])).all()


def test_a_modality_alone_sees_nothing_else(evaluator, cohort):
    patients = [name for name in evaluator.test if cohort.patients.loc[name, "record"]]
    samples = [{"record": cohort.sample(name)["record"]} for name in patients]
    alone = evaluator.model.head.estimate(evaluator.model.scores(samples)).numpy()
    np.testing.assert_allclose(evaluator.estimates(patients, ["record"]), alone, atol=1e-6)
    assert not np.allclose(evaluator.estimates(patients, evaluator.model.task["modalities"]), alone)


def test_the_gain_is_the_models_value_less_the_baselines(found):
    baseline = found["baseline"]
    assert baseline["inputs"] == ["age", "sex"]
    assert baseline["gain"]["auc"]["value"] == pytest.approx(
        found["overall"]["auc"]["value"] - baseline["auc"]["value"]
    )


def test_an_evaluation_reproduces(evaluator, found, cohort):
    again = Evaluator(evaluator.model, cohort, evaluator.train, evaluator.test, resamples=20, seed=0)
    assert again.run() == found


def test_survival_is_ranked_by_its_concordance(build, cohort):
    parts = split(cohort, ["summit"], 0.15, 0)
    found = Evaluator(build(Survival(32)), cohort, parts.train, parts.test, resamples=10).run()
    table = rows(cohort, "summit")
    table = table[usable(table, "genomics", "report", "record")]
    assert list(found["overall"]) == ["c_index"]
    assert found["events"] == int(table["os_event"].sum())
    assert set(found["baseline"]["gain"]) == {"c_index"}


def test_a_group_of_one_outcome_has_no_value(build, cohort):
    positive = cohort.patients.index[(cohort.patients["biomarker"] == 1) & cohort.patients["record"].astype(bool)]
    found = Evaluator(build(), cohort, list(cohort.patients.index[:20]), list(positive[-4:]), resamples=5).run()
    assert found["n"] == found["events"] == 4
    nothing = {"value": None, "low": None, "high": None}
    assert found["overall"]["auc"] == {**nothing, "reason": "4 patients, of 10 that it takes"}
    several = Evaluator(build(), cohort, list(cohort.patients.index[:20]), list(positive), resamples=5).run()
    assert several["overall"]["auc"] == {**nothing, "reason": "0 negatives, of 5 that it takes"}
    assert several["overall"]["brier"]["value"] > 0


def test_too_few_test_patients_are_one_line(build, cohort):
    with pytest.raises(UserError, match=r"task biomarker: 1 test patients have a target; hold another hospital out"):
        Evaluator(build(), cohort, [], list(cohort.patients.index[cohort.patients["record"].astype(bool)][:1]))


def test_a_modality_that_nobody_trained_is_not_read(build, cohort):
    parts = split(cohort, ["summit"], 0.15, 0)
    model = build()
    evaluator = Evaluator(model, cohort, parts.train, parts.test, resamples=5, trained={"report", "record", "fusion"})
    result = evaluator.run()
    assert evaluator.modalities == [name for name in model.task["modalities"] if name in ("report", "record")]
    assert set(evaluator.ignored) == set(model.task["modalities"]) - {"report", "record"}
    assert set(result["by_modality"]) == {"all", "report alone", "record alone"}
    alone = Evaluator(model, cohort, parts.train, evaluator.test).estimates(evaluator.test, evaluator.modalities)
    np.testing.assert_array_equal(evaluator.test_estimates, alone)
    assert f"Not read, for no patient trained it: {', '.join(evaluator.ignored)}." in as_markdown(result, evaluator)
    with pytest.raises(UserError, match="no run record counts a patient who trained any of"):
        Evaluator(model, cohort, parts.train, parts.test, trained=())
