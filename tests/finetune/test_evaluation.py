"""The tables of an evaluation, on a small cohort and a model nobody trained."""

import numpy as np
import pytest

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


def test_a_patient_with_hidden_genes_alone_is_left_out(build, cohort, monkeypatch):
    parts = split(cohort, ["summit"], 0.15, 0)
    patient = next(p for p in parts.test if cohort.patients.loc[p, "genomics"])
    genes = cohort.dictionary.genes
    only_hidden = {name: np.full(len(genes), np.nan, np.float32) for name in ("expression", "copy_number")}
    only_hidden["mutations"] = np.where(np.array(genes) == genes[0], 1, np.nan).astype(np.float32)
    sample = cohort.sample
    monkeypatch.setattr(cohort, "sample", lambda p: {"genomics": only_hidden} if p == patient else sample(p))
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
    assert found["overall"]["auc"] == {"value": None, "low": None, "high": None}


def test_too_few_test_patients_are_one_line(build, cohort):
    with pytest.raises(UserError, match=r"task biomarker: 1 test patients have a target; hold another hospital out"):
        Evaluator(build(), cohort, [], list(cohort.patients.index[cohort.patients["record"].astype(bool)][:1]))
