"""What a run does beside learning: it stops in order, skips bad losses, watches, compiles and logs."""

import json
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from foundation.batch import Batch
from foundation.engine import throughput
from foundation.engine.callbacks import Finite
from foundation.engine.throughput import Throughput
from foundation.errors import UserError
from pretrain.fit import build_module, fit_round
from pretrain.module import PretrainModule
from tests import warm

HOSPITALS = ["riverside"]


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "csv" / "metrics.csv")


def test_validation_patients_are_retrieved_and_probed_while_training(configure, tmp_path):
    cfg = configure("monitor_every=2", "data.validation_fraction=0.4", "cohort.root=x")
    result = fit_round(cfg, HOSPITALS, None, tmp_path, 4, 0, 4)
    table = curves(tmp_path)
    column = "monitor/pathology_to_genomics/r@1"
    assert table.dropna(subset=[column])["step"].tolist() == [2, 4]
    assert result.metrics[column] == pytest.approx(table[column].dropna().iloc[-1])
    for name in ("chance@1", "r@5"):
        assert f"monitor/pathology_to_genomics/{name}" in table
    assert {"monitor/fused/biomarker_linear_auc", "monitor/pathology/biomarker_knn_auc"} <= set(table)
    assert 0 <= table["monitor/pathology/effective_rank"].dropna().iloc[-1] <= 64


def test_watching_changes_nothing_of_what_is_learnt(configure, tmp_path):
    watched = ["monitor_every=1", "profile=2", "speed_every=1"]
    plain = fit_round(configure("monitor_every=0", "speed_every=0"), HOSPITALS, None, tmp_path / "a", 4, 0, 4)
    seen = fit_round(configure(*watched), HOSPITALS, None, tmp_path / "b", 4, 0, 4)
    assert all(np.array_equal(plain.weights[name], seen.weights[name]) for name in plain.weights)


def test_speed_is_logged_and_a_profile_written(configure, tmp_path):
    fit_round(configure("profile=2", "speed_every=2"), HOSPITALS, None, tmp_path, 8, 0, 8)
    table = curves(tmp_path)
    speed = table.dropna(subset=["speed/samples_per_second"]).iloc[-1]
    assert speed["speed/samples_per_second"] == pytest.approx(2 * 8 / (2 * speed["speed/step_seconds"]), rel=0.01)
    assert speed["speed/tokens_per_second"] > speed["speed/samples_per_second"]
    assert speed["speed/model_flops_per_second"] > 0
    assert "speed/mfu" not in table, "no peak is known for this device"
    said = (tmp_path / "profile.txt").read_text()
    assert [line.split()[0] for line in said.splitlines()[1:4]] == ["data", "forward", "backward"]
    shares = [float(line.rsplit(maxsplit=1)[1].rstrip("%")) for line in said.splitlines()[1:5]]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_operations_are_not_counted_in_a_run_that_ends_before_it_would_tell(configure, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "flop_counter", lambda: pytest.fail("counted"))
    fit_round(configure("speed_every=4"), HOSPITALS, None, tmp_path, 6, 0, 6)
    assert len(curves(tmp_path).dropna(subset=["speed/samples_per_second"])) == 1


def test_operations_are_those_of_the_layers():
    module = torch.nn.Linear(8, 16, bias=False)
    throughput = Throughput(peak=1e6)
    throughput._flops_a_sample = 3 * 2 * 8 * 16
    throughput._samples, throughput._tokens, throughput._steps = 10, 30, 2
    found = throughput._speed(0.5, module.weight.device)
    assert found["speed/model_flops_per_second"] == pytest.approx(768 * 20)
    assert found["speed/mfu"] == pytest.approx(768 * 20 / 1e6)


def spoiled(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Makes the loss of some steps no number."""
    step = PretrainModule.step

    def spoil(module: PretrainModule, batch: Batch, stage: str):
        loss = step(module, batch, stage)
        return loss * float("nan") if stage == "train" and module.trainer.fit_loop.total_batch_idx in steps else loss

    monkeypatch.setattr(PretrainModule, "step", spoil)


def test_a_loss_that_is_no_number_is_skipped_and_counted(configure, tmp_path, monkeypatch):
    spoiled(monkeypatch, {1, 3})
    cfg = configure("validate_every=0")
    result = fit_round(cfg, HOSPITALS, None, tmp_path, 5, 0, 5)
    assert all(np.isfinite(value).all() for value in result.weights.values())
    assert result.metrics["train/skipped"] == 2
    assert result.samples["objective:alignment"] <= 3 * 8, "skipped patients trained nothing"
    assert not (tmp_path / "non_finite_batch.safetensors").exists()


def test_a_loss_that_stays_no_number_ends_the_run_with_its_batch(configure, tmp_path, monkeypatch):
    spoiled(monkeypatch, set(range(2, 20)))
    with pytest.raises(UserError, match="the loss was not finite 4 times in a row, until step 5") as caught:
        fit_round(configure("validate_every=0"), HOSPITALS, None, tmp_path, 20, 0, 20)
    path = tmp_path / "non_finite_batch.safetensors"
    assert str(path) in str(caught.value)
    kept = load_file(path)
    assert len(kept["present.genomics"]) == 8
    assert path.stat().st_mode & 0o077 == 0, "patients' values are the owner's to read"


def test_a_good_loss_ends_a_row_of_bad_ones(tmp_path):
    finite = Finite(tmp_path, patience=2)
    batch = Batch(["a"], {"record": torch.tensor([True])}, {"record": {"number": torch.ones(1, 2)}})
    bad, good = torch.tensor(float("inf")), torch.tensor(1.0)
    assert [finite.accepts(loss, batch, 0) for loss in (bad, bad, good, bad, bad, None)] == [0, 0, 1, 0, 0, 1]
    assert finite.skipped == 4


def test_the_latest_checkpoints_and_the_best_are_kept(configure, tmp_path):
    cfg = configure("checkpoint_every=1", "keep_checkpoints=3", "validate_every=2")
    fit_round(cfg, HOSPITALS, None, tmp_path, 6, 0, 6)
    kept = {path.name.split("step=")[-1] for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"4.ckpt", "5.ckpt", "6.ckpt", "last.ckpt", "best.safetensors"}


def test_compiled_backbones_learn_the_same_and_keep_their_names(configure, tmp_path):
    common = ["validate_every=0", "monitor_every=0", "speed_every=0"]
    plain = fit_round(configure(*common), HOSPITALS, None, tmp_path / "a", 2, 0, 2)
    compiled = fit_round(configure(*common, "compile={backend: aot_eager}"), HOSPITALS, None, tmp_path / "b", 2, 0, 2)
    assert plain.weights.keys() == compiled.weights.keys()
    for name, value in plain.weights.items():
        np.testing.assert_allclose(compiled.weights[name], value, atol=2e-3, err_msg=name)


def test_curves_go_to_mlflow_and_wandb_on_this_machine(configure, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = configure("loggers=[mlflow,wandb]", "validate_every=0", "monitor_every=0")
    fit_round(cfg, HOSPITALS, None, tmp_path / "run", 3, 0, 3)
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as store:
        rows = store.execute("select step, value from metrics where key = 'train/alignment' order by step").fetchall()
    assert [step for step, _ in rows] == [0, 1, 2]
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    with pytest.raises(UserError, match="loggers: found 'excel'; choose from tensorboard, csv, mlflow, wandb"):
        fit_round(configure("loggers=[excel]"), HOSPITALS, None, tmp_path / "x", 1, 0, 1)


def test_frozen_weights_are_not_optimised(configure):
    module = build_module(configure("modality.pathology.tune=frozen"), None, 0, 1)
    held = {id(value) for group in module.configure_optimizers()["optimizer"].param_groups for value in group["params"]}
    assert not held & {id(value) for value in module.encoder.modalities["pathology"].backbone.parameters()}
    assert held == {id(value) for value in module.parameters() if value.requires_grad}


@pytest.mark.process
def test_sigterm_finishes_the_step_saves_and_says_how_to_go_on(small_cohort: Path, tmp_path: Path):
    def run(folder: str, *more: str, module: str = "pretrain") -> subprocess.CompletedProcess[str]:
        arguments = [
            "experiment=demo",
            "data.batch_size=8",
            "steps=30",
            "progress=false",
            f"data.folder={small_cohort}",
            f"output={tmp_path / folder}",
            "validate_every=0",
            "monitor_every=0",
            "loggers=[csv]",
            "checkpoint_every=1000",
        ]
        return warm.run(module, [*arguments, *more])

    assert run("whole").returncode == 0
    stopped = run("stopped", module="tests.pretrain.stopped_at_step")
    assert stopped.returncode == 2, stopped.stderr
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    message = f"error: {last}: stopped by SIGTERM after step 8; go on with resume=true"
    assert stopped.stderr.splitlines()[-1] == message
    assert run("stopped", "resume=true").returncode == 0
    one, other = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
