"""Messages, rounds on disk, and a real simulation that is interrupted and goes on."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from foundation.errors import UserError
from foundation.federation.planning import plan_of
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.wire.messages import (
    Decline,
    Order,
    Reply,
    pack_decline,
    pack_reply,
    unpack_reply,
)
from tests import warm
from tests.foundation.federation.gates import arrived
from tests.foundation.federation.stub_sites import config

WEIGHTS = {
    "encoder.fusion.patient": np.array([0.5, -1.25], np.float32),
    "encoder.modalities.pathology.backbone.bn1.num_batches_tracked": np.array(7, np.int64),
}


def same(one: dict, other: dict) -> None:
    assert {name: (value.dtype, value.shape) for name, value in one.items()} == {
        name: (value.dtype, value.shape) for name, value in other.items()
    }
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_an_order_arrives_as_it_was_sent(tmp_path: Path):
    sent = Order(plan_of(config(tmp_path, rounds=3)), WEIGHTS, "run-1", 2, 0.5, {"c": np.ones(2)})
    sent.frozen, sent.buffers, sent.head = {"pathology": "d" * 64}, frozenset({"b"}), "a" * 64
    found = arrived(sent)
    assert found.start_step == 2
    for name in ("plan", "run", "round", "clip", "start_step", "frozen", "buffers", "head"):
        assert getattr(found, name) == getattr(sent, name)
    same(found.weights, WEIGHTS)
    same(found.control, {"c": np.ones(2)})


def test_a_reply_arrives_as_it_was_sent():
    samples, metrics = {"pathology": 9, "objective:alignment": 4}, {"train/loss": 1.5, "seconds": 2.0}
    found = unpack_reply(pack_reply(Reply("northgate", WEIGHTS, {}, samples, metrics, {"head": "h"})))
    assert isinstance(found, Reply)
    assert (found.hospital, found.samples, found.metrics) == ("northgate", samples, metrics)
    assert found.facts == {"head": "h"}
    same(found.update, WEIGHTS)


def test_an_evaluation_carries_no_weights():
    found = unpack_reply(pack_reply(Reply("summit", metrics={"patients": 14.0})))
    assert isinstance(found, Reply) and len(found.update) == 0
    assert found.metrics == {"patients": 14.0}


def test_a_refusal_is_the_line_of_the_site():
    sent = Decline("lakeview", "policy: tasks: 'pretrain' is not allowed here")
    assert unpack_reply(pack_decline(sent)) == sent


def finish(checkpoints: Checkpoints, number: int, value: float, **facts: object) -> None:
    checkpoints.keep_weights(number, {"a": np.full(2, value, np.float32)})
    checkpoints.save(number, {}, facts)


def test_rounds_go_on_after_the_last_finished_one(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "digest")
    checkpoints.begin({"a": np.zeros(2, np.float32)})
    for number in (1, 2, 3):
        finish(checkpoints, number, number, coverage={"pathology": {"x": 1.0}})
    again = Checkpoints(tmp_path, "digest")
    same(again.resume(), {"a": np.full(2, 3, np.float32)})
    assert [line["round"] for line in again.history] == [1, 2, 3]
    assert again.history == checkpoints.history


def test_only_the_last_checkpoints_stay(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "digest", keep=2)
    for number in range(1, 6):
        finish(checkpoints, number, 0)
    assert sorted(path.name for path in (tmp_path / "rounds").iterdir()) == [
        "round_0004.safetensors",
        "round_0005.safetensors",
    ]


def test_a_checkpoint_that_history_does_not_count_is_not_resumed_from(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "digest")
    checkpoints.begin({"a": np.zeros(2, np.float32)})
    finish(checkpoints, 1, 1)
    checkpoints.keep_weights(2, {"a": np.zeros(2, np.float32)})
    same(Checkpoints(tmp_path, "digest").resume(), {"a": np.ones(2, np.float32)})


def test_without_a_finished_round_there_is_nothing_to_resume(tmp_path: Path):
    assert Checkpoints(tmp_path, "digest").resume() is None


def test_rounds_of_another_config_are_refused(tmp_path: Path):
    finish(Checkpoints(tmp_path, "digest"), 1, 1)
    with pytest.raises(UserError, match=r"history\.json: these rounds ran with another config"):
        Checkpoints(tmp_path, "other").resume()


def test_a_missing_checkpoint_is_named(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "digest")
    finish(checkpoints, 1, 1)
    checkpoints.path(1).unlink()
    with pytest.raises(UserError, match=r"round_0001\.safetensors: missing"):
        Checkpoints(tmp_path, "digest").resume()


def simulate(cohort: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["experiment=demo", "rounds=2", "steps_per_round=2", "data.batch_size=8"]
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    arguments += [f"data.folder={cohort}", f"output={output}", *more]
    return warm.run("pretrain.federated", arguments, env=environment, timeout=240)


@pytest.fixture(scope="module")
def finished(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("federated") / "run"
    done = simulate(small_cohort, output)
    assert done.returncode == 0, done.stderr[-2000:]
    return output


def history(output: Path) -> list[dict]:
    return json.loads((output / "history.json").read_text())["rounds"]


@pytest.mark.process
def test_the_held_out_hospital_is_evaluated_once_and_never_trains(finished: Path):
    for line in history(finished):
        assert set(line["training"]) == {"riverside", "northgate", "lakeview"}
        assert set(line["evaluation"]) - {"summit"} == {"riverside", "northgate", "lakeview"}
        assert not any("summit" in shares for shares in line["coverage"].values())
    evaluated = [line["evaluation"].get("summit", {}).get("patients") for line in history(finished)]
    assert evaluated == [None] * (len(evaluated) - 1) + [16], "once, when no choice is left"


@pytest.mark.process
def test_a_hospital_never_enters_the_mean_of_a_modality_it_lacks(finished: Path):
    for line in history(finished):
        coverage = line["coverage"]
        assert set(coverage["pathology"]) == set(coverage["radiology"]) == {"riverside", "northgate"}
        assert set(coverage["genomics"]) == set(coverage["objective:masked_genes"]) == {"riverside", "lakeview"}
        assert set(coverage["fusion"]) == {"riverside", "northgate", "lakeview"}
        assert "genomics" not in line["training"]["northgate"]["samples"]
        for group, shares in coverage.items():
            counts = {site: line["training"][site]["samples"][group] for site in shares}
            assert shares == {site: count / sum(counts.values()) for site, count in counts.items()}


@pytest.mark.process
def test_an_interrupted_federation_resumes_to_exactly_the_same_weights(finished: Path, small_cohort: Path):
    whole = load_file(finished / "rounds" / "round_0002.safetensors")
    lines = history(finished)
    content = json.loads((finished / "history.json").read_text())
    (finished / "history.json").write_text(json.dumps({**content, "rounds": lines[:1]}))
    (finished / "rounds" / "round_0002.safetensors").unlink()
    done = simulate(small_cohort, finished, "resume=true")
    assert done.returncode == 0, done.stderr[-2000:]
    same(load_file(finished / "rounds" / "round_0002.safetensors"), whole)
    again = history(finished)
    assert again[0] == lines[0]
    assert again[1]["coverage"] == lines[1]["coverage"]
