"""A head and its evaluation over hospitals that are processes of their own, as over those of one process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.finetune.federated.test_evaluation import same
from tests.foundation.federation.deployed_sites import ONE_THREAD, Running, until

SITES = ("riverside", "northgate")


@pytest.fixture
def running(small_cohort: Path, tmp_path: Path) -> Iterator[Running]:
    """Two hospitals and a SuperLink."""
    federation = Running(tmp_path / "federation", small_cohort)
    federation.provision(*SITES)
    for name in ("server", *SITES):
        federation.start(name)
    try:
        until(lambda: federation.online(*SITES))
        yield federation
    finally:
        for name in list(federation.processes):
            federation.kill(name, signal.SIGTERM)


def command(module: str, *settings: str) -> None:
    arguments = [sys.executable, "-m", module, f"sites=[{','.join(SITES)}]", *settings]
    environment = os.environ | ONE_THREAD
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_survival_over_processes_of_their_own_is_that_of_one_process(
    running: Running, small_cohort: Path, pretrained: Path, tmp_path: Path
):
    deployed = ["federation=deployment", f"federation.server={running.server}"]
    training = [f"pretrained={pretrained}", f"data.folder={small_cohort}", "data.test_hospitals=[]"]
    training += ["task=survival", "cox={method: newton, ridge: 4}", "rounds=1", "steps_per_round=15"]
    reading = [f"data.folder={small_cohort}", "part=train", "replicates=20", "overwrite=true"]
    results, reliability = {}, {}
    for name, engine in (("deployed", deployed), ("serial", ["federation=serial"])):
        output = tmp_path / name
        command("finetune.federated", *training, *engine, f"output={output}")
        command("finetune.federated.evaluate", f"run={tmp_path / 'deployed'}", *reading, *engine)
        page = json.loads((tmp_path / "deployed" / "federated-evaluation" / "evaluation.json").read_text())
        results[name] = load_file(output / "head.safetensors"), page
        reliability[name] = load_file(output / "reliability.safetensors")
    for name, value in results["serial"][0].items():
        np.testing.assert_allclose(results["deployed"][0][name], value, atol=1e-6, err_msg=name)
    assert reliability["deployed"]["novelty.0.mean"].any()
    for name, value in reliability["serial"].items():
        np.testing.assert_allclose(reliability["deployed"][name], value, atol=1e-6, err_msg=name)
    same(*(page for _, page in results.values()))
    for site in SITES:
        received = list((running.home(site) / "state" / "models").iterdir())
        assert len(received) == 2, "the encoder, and the task model"
