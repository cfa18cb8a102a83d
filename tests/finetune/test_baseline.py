"""The baseline of age and sex, on patients made by hand."""

from collections.abc import Collection
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from finetune.baseline import covariates, split_covariates, usable
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival

RECORDS = {
    "a": {"record": {"age": 50.0, "sex": "M"}},
    "b": {"record": {"age": 70.0, "sex": "F"}},
    "c": {"record": {"age": None, "sex": "F"}},
    "d": {"report": "no record at all"},
}


def cohort_of(records: dict, labels: pd.DataFrame | None = None) -> SimpleNamespace:
    def sample(patient: str, modalities: Collection[str] = ("record",)) -> dict:
        assert list(modalities) == ["record"]  # images would be read for nothing
        return {name: value for name, value in records[patient].items() if name in modalities}

    return SimpleNamespace(sample=sample, patients=labels)


def test_unknown_age_is_the_median_and_unknown_sex_is_marked():
    found = covariates(cohort_of(RECORDS), list("abcd"))
    assert found["age"].tolist() == [-1, 1, 0, 0]
    assert found["male"].tolist() == [1, 0, 0, 0]
    assert found["sex_unknown"].tolist() == [0, 0, 0, 1]
    assert covariates(cohort_of(RECORDS), ["c"], fill=80.0)["age"].tolist() == [2]


def test_a_cohort_without_age_or_sex_has_no_baseline(cohort):
    assert usable(cohort)
    age = SimpleNamespace(name="age")
    assert not usable(SimpleNamespace(dictionary=SimpleNamespace(record=[age])))


@pytest.fixture
def ageing() -> SimpleNamespace:
    """The older, the likelier the label and the sooner the death; the last patient's age is unknown."""
    rng = np.random.default_rng(0)
    age = rng.uniform(30, 90, 80).round()
    names = [f"p{index}" for index in range(80)]
    records = {
        name: {"record": {"age": value, "sex": "FM"[index % 2]}}
        for index, (name, value) in enumerate(zip(names, age, strict=True))
    }
    records["p79"]["record"]["age"] = None
    label = (rng.random(80) < 1 / (1 + np.exp(-(age - 60) / 8))).astype(float)
    days = rng.exponential(np.exp(-(age - 60) / 10)) * 900 + 1
    return cohort_of(records, pd.DataFrame({"y": label, "event": np.ones(80), "time": days}, index=names))


BINARY, COX = Classification(8, "y"), Survival(8, "event", "time")


def estimated(head: Head, cohort: SimpleNamespace, train: list[str], test: list[str]) -> np.ndarray:
    before, after = split_covariates(cohort, train, test)
    return head.baseline(before, {name: cohort.patients.loc[train, name].to_numpy() for name in head.targets}, after)


def test_it_learns_from_the_training_patients_that_age_matters(ageing):
    train, test = list(ageing.patients.index[:60]), ["p60", "p61", "p79"]
    ages = [60.0, 80.0, None]
    for name, age in zip(test, ages, strict=True):
        ageing.sample(name)["record"].update(age=age, sex="F")
    for risk in (estimated(BINARY, ageing, train, test), estimated(COX, ageing, train, test)):
        assert risk[0] < risk[1]
        median = np.median([ageing.sample(name)["record"]["age"] for name in train])
        assert (risk[2] < risk[0]) == (median < 60), "an unknown age is the median of the training patients"
    probability = estimated(BINARY, ageing, train, test)
    assert ((probability > 0) & (probability < 1)).all()


def test_test_patients_do_not_influence_each_other(ageing):
    train, test = list(ageing.patients.index[:60]), list(ageing.patients.index[60:])
    whole = estimated(COX, ageing, train, test)
    single = [estimated(COX, ageing, train, [name])[0] for name in test[-3:]]
    np.testing.assert_allclose(whole[-3:], single, rtol=1e-12)
