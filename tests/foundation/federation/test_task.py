"""A second federated task through the same layer: simulated and deployed, judged by the policy, resumed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import load_file

from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.runtime.command import federate
from foundation.federation.task import federated_task
from tests.foundation.federation.deployed_sites import SITES, Running, free_port, until
from tests.foundation.federation.linear_task import TARGET, LinearTask, linear_config, pooled_weights

ROOT = Path(__file__).resolve().parents[3]
ALLOWS = f"tasks: [linear, evaluate, statistics]\ntargets: [{TARGET}]\n"
COMMAND = "python -m linear.federated"


def write_policies(output: Path, **policies: str) -> None:
    """A hospital's own folder, in a run whose sites are on this machine."""
    for site, text in policies.items():
        home = output / "sites" / site
        home.mkdir(parents=True)
        (home / "site.yaml").write_text(f"name: {site}\npolicy: policy.yaml\n")
        (home / "policy.yaml").write_text(text)


def is_pooled_training(output: Path, cohort: Path) -> None:
    """With a step a round on all patients at once, the mean by samples is the step on everybody's."""
    pooled = pooled_weights(linear_config(cohort, output, SITES))
    weights = load_file(output / "line.safetensors")
    assert weights.keys() == pooled.keys() == {"line.weight", "line.bias"}
    for name, value in pooled.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-5, err_msg=name)
    lines = json.loads((output / "history.json").read_text())["rounds"]
    assert [line["absent"] for line in lines] == [{}, {}, {}]
    losses = [[line["evaluation"][site]["loss"] for site in SITES] for line in lines]
    assert all(later < earlier for earlier, later in zip(losses[0], losses[2], strict=True))
    assert set(lines[0]["coverage"]) == {"line"}
    assert json.loads((output / "statistics.json").read_text())["counts"]["patients"] > 0
    assert json.loads((output / "run.json").read_text())["command"] == COMMAND
    assert "2 sites: riverside, northgate" in (output / "report.html").read_text()


def test_linear_task_in_one_process_is_pooled_training(small_cohort: Path, tmp_path: Path):
    output = tmp_path / "run"
    write_policies(output, **dict.fromkeys(SITES, ALLOWS))
    federate(linear_config(small_cohort, output, SITES), COMMAND)
    is_pooled_training(output, small_cohort)
    for path in (output / "ledger.jsonl", *(output / "sites" / site / "ledger.jsonl" for site in SITES)):
        assert verify(path) == []


def test_linear_task_goes_on_where_it_was_cut_off(small_cohort: Path, tmp_path: Path):
    output = tmp_path / "run"
    write_policies(output, **dict.fromkeys(SITES, ALLOWS))
    federate(linear_config(small_cohort, output, SITES), COMMAND)
    whole = load_file(output / "rounds" / "round_0003.safetensors")
    content = json.loads((output / "history.json").read_text())
    (output / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    federate(linear_config(small_cohort, output, SITES, resume=True), COMMAND)
    for name, value in load_file(output / "rounds" / "round_0003.safetensors").items():
        np.testing.assert_array_equal(value, whole[name])


@pytest.mark.parametrize("strategy", ["averaging.FedProx", "scaffold.Scaffold"])
def test_linear_task_learns_under_drift_correction(small_cohort: Path, tmp_path: Path, strategy: str):
    output = tmp_path / "run"
    write_policies(output, **dict.fromkeys(SITES, ALLOWS))
    more = {"proximal": 0.1} if strategy.endswith("FedProx") else {}
    chosen = {"_target_": f"foundation.federation.strategies.{strategy}", **more}
    federate(linear_config(small_cohort, output, SITES, strategy=chosen, steps_per_round=4), COMMAND)
    lines = json.loads((output / "history.json").read_text())["rounds"]
    assert lines[-1]["evaluation"]["riverside"]["loss"] < lines[0]["evaluation"]["riverside"]["loss"] / 2


def test_site_declines_a_task_that_it_has_not_installed(small_cohort: Path, tmp_path: Path):
    output = tmp_path / "run"
    write_policies(output, riverside=ALLOWS, northgate="{}\n")
    reason = "northgate: declined: plan: task: no task of this site; it knows evaluate, finetune, pretrain"
    with pytest.raises(UserError, match=reason):
        federate(linear_config(small_cohort, output, SITES, statistics=[]), COMMAND)


def test_site_declines_a_task_that_its_policy_does_not_list(small_cohort: Path, tmp_path: Path):
    output = tmp_path / "run"
    write_policies(output, riverside=ALLOWS, northgate=ALLOWS.replace("[linear", "[pretrain"))
    with pytest.raises(UserError, match="northgate: declined: policy: tasks: 'linear' is not allowed here"):
        federate(linear_config(small_cohort, output, SITES, statistics=[]), COMMAND)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "None is not installed here"),
        ("no.such.Task", "no.such.Task is not installed here"),
        ("foundation.federation.privacy.base.Privacy", "is no federated task"),
        ("os.getcwd", "is no federated task"),
    ],
)
def test_config_without_a_task_is_refused(target: str | None, reason: str):
    with pytest.raises(UserError, match=rf"^federated_task\._target_: .*{reason}"):
        federated_task(OmegaConf.create({"federated_task": target and {"_target_": target}}))


def test_config_names_the_task():
    cfg = OmegaConf.create({"federated_task": {"_target_": TARGET}})
    assert isinstance(federated_task(cfg, "riverside"), LinearTask)


@pytest.fixture
def running(small_cohort: Path, tmp_path: Path) -> Iterator[Running]:
    """Two hospitals that installed the task beside this release, and a SuperLink."""
    federation = Running(tmp_path / "federation", small_cohort)
    federation.provision(*SITES)
    for name in ("server", *SITES):
        if name != "server":
            (federation.home(name) / "policy.yaml").write_text(ALLOWS)
        settings = [] if name == "server" else [f"port={free_port()}"]
        federation.launch(name, ["bash", str(federation.home(name) / "start.sh"), *settings], PYTHONPATH=str(ROOT))
    try:
        until(lambda: federation.online(*SITES))
        yield federation
    finally:
        for name in list(federation.processes):
            federation.kill(name, signal.SIGTERM)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_linear_task_over_processes_of_their_own_is_pooled_training(
    running: Running, small_cohort: Path, tmp_path: Path
):
    output = tmp_path / "run"
    deployment = {"kind": "deployment", "server": str(running.server), "operator_key": None}
    federate(linear_config(small_cohort, output, SITES, federation=deployment), COMMAND)
    is_pooled_training(output, small_cohort)


@pytest.mark.process
@pytest.mark.slow
def test_linear_task_in_flowers_simulation_is_pooled_training(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    output = tmp_path / "run"
    write_policies(output, **dict.fromkeys(SITES, ALLOWS))
    simulation = {"kind": "simulation", "cores_per_site": 1, "gpus_per_site": 0.0}
    federate(linear_config(small_cohort, output, SITES, federation=simulation), COMMAND)
    is_pooled_training(output, small_cohort)
