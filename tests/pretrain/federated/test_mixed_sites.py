"""One federation over different hardware: a site shards its model over two processes, another has one plain CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

ZERO_3 = yaml.safe_load((Path(__file__).resolve().parents[3] / "configs/trainer/deepspeed_zero3.yaml").read_text())
BATCH, STEPS = 8, 2


@pytest.mark.process
@pytest.mark.slow
def test_a_zero_3_site_of_two_processes_and_a_plain_cpu_train_one_model(small_cohort: Path, tmp_path: Path):
    home = tmp_path / "run" / "sites" / "riverside"
    home.mkdir(parents=True)
    trainer = ZERO_3 | {"accelerator": "cpu", "precision": "32-true"}
    (home / "site.yaml").write_text(yaml.safe_dump({"name": "riverside", "trainer": trainer}))
    command = [
        *(sys.executable, "-m", "pretrain.federated", "federation=serial", "experiment=demo", "rounds=2"),
        *(f"steps_per_round={STEPS}", f"data.batch_size={BATCH}", "sites=[riverside,northgate]"),
        *(
            "screening.processes=2",
            "data.test_hospitals=[]",
            f"data.folder={small_cohort}",
            f"output={tmp_path / 'run'}",
        ),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for line in json.loads((tmp_path / "run" / "history.json").read_text())["rounds"]:
        samples = {site: facts["samples"]["fusion"] for site, facts in line["training"].items()}
        assert 0 < samples["northgate"] <= BATCH * STEPS < samples["riverside"], "two processes, with a batch each"
        total = sum(samples.values())
        assert line["coverage"]["fusion"] == {site: pytest.approx(count / total) for site, count in samples.items()}
        assert line["absent"] == {}
    before, after = (load_file(tmp_path / "run" / "rounds" / f"round_000{number}.safetensors") for number in (1, 2))
    assert before.keys() == after.keys()
    assert all(np.isfinite(value).all() for value in after.values())
    name = "encoder.fusion.patient"
    assert not np.array_equal(before[name], after[name])
