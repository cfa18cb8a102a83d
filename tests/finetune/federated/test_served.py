"""What hospitals fitted of how far answers can be relied on comes back in served answers, as the task model says it."""

import json
from pathlib import Path

import pytest

from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.federation.runtime.command import federate
from serve.bundle import write_bundle
from serve.client import to_request
from serve.predictor import Predictor
from tests.finetune.federated.conftest import Configure
from tests.finetune.federated.test_reliability import COMMAND, SHORT, TASKS

REGION = {"classes": "classes", "quantity": "high"}


@pytest.mark.parametrize("kind", ["classes", pytest.param("quantity", marks=pytest.mark.slow)])
def test_served_answers_hold_the_regions_and_abstentions_of_hospitals(
    kind: str, configured: Configure, small_cohort: Path, tmp_path: Path
):
    federate(configured(*TASKS[kind], *SHORT), COMMAND)
    model, cohort = TaskModel.load(tmp_path / "run"), Cohort(small_cohort)
    write_bundle(tmp_path / "run", tmp_path / "bundle", None, cohort)
    predictor = Predictor.load(tmp_path / "bundle")
    there = cohort.patients[model.task["modalities"]].astype(bool).any(axis=1)
    held_out = cohort.patients.index[there & (cohort.patients["hospital"] == "summit")]
    samples = [cohort.sample(patient) for patient in held_out]
    told = [answer["reliability"] for answer in model.predict(samples)]
    served = predictor.answer([json.dumps(to_request(sample, predictor.schema)) for sample in samples])
    assert {one["coverage"] for one in told} == {0.9}
    assert all(one["region"][REGION[kind]] for one in told)
    assert any(value is not None for one in told for value in one["out_of_distribution"].values())
    if kind == "classes":
        assert {one["abstain"] for one in told} == {True, False}
    for expected, response in zip(told, served, strict=True):
        assert same(response.reliability, expected)


def same(found: object, expected: object) -> bool:
    """Equal, numbers within what two runs of the encoder differ by."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and found.keys() == expected.keys()
        return all(same(found[key], value) for key, value in expected.items())
    return found == (pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected)
