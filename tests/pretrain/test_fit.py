"""One site's training: whose data it opens, what it counts, and that it reproduces and resumes."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from foundation.batch import Batch
from foundation.errors import UserError
from pretrain.assemble import load_cohort
from pretrain.fit import build_module, fit_round
from pretrain.module import PretrainModule
from tests import warm

STEPS = 3


@pytest.fixture
def alone(small_cohort: Path, tmp_path: Path) -> Path:
    """The cohort as one hospital sees it: the other hospitals' folders are not there."""
    shutil.copytree(small_cohort, tmp_path / "alone")
    for other in ("riverside", "lakeview", "summit"):
        shutil.rmtree(tmp_path / "alone" / other)
    return tmp_path / "alone"


def differ(one: dict, other: dict) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


def test_a_hospital_trains_on_its_own_patients_and_opens_nobody_elses_files(configure, alone, small_cohort, tmp_path):
    own = fit_round(configure(f"data.folder={alone}"), ["northgate"], None, tmp_path / "a", STEPS, 0, STEPS)
    pooled = fit_round(configure(), ["northgate"], None, tmp_path / "b", STEPS, 0, STEPS)
    assert differ(own.weights, pooled.weights) == []
    assert own.samples == pooled.samples
    # 17 of its 20 patients train, in batches of 8, 8 and, of the second epoch, 8.
    assert 0 < max(own.samples.values()) <= 8 * STEPS
    with pytest.raises(UserError, match=r"riverside/patients\.parquet: not readable"):
        load_cohort(configure(f"data.folder={alone}"), ["riverside"])


def test_a_step_teaches_no_more_patients_than_the_hospital_has(configure, small_cohort, tmp_path):
    cfg = configure("data.batch_size=64")
    result = fit_round(cfg, ["northgate"], None, tmp_path, 1, 0, 1)
    _, parts = load_cohort(cfg, ["northgate"])
    table = pd.read_parquet(small_cohort / "northgate" / "patients.parquet").loc[parts.train]
    present = table[["pathology", "radiology", "report", "record"]].astype(bool)
    several = present.sum(axis=1) > 1
    assert result.samples["fusion"] == result.samples["objective:alignment"] == int(several.sum())
    for name in present:
        assert result.samples[name] == int((several & present[name]).sum())


@pytest.mark.parametrize(
    ("hospital", "lacks"),
    [("northgate", {"genomics", "objective:masked_genes"}), ("lakeview", {"pathology", "radiology"})],
)
def test_a_hospital_counts_no_samples_of_what_it_lacks_and_leaves_those_weights(configure, tmp_path, hospital, lacks):
    cfg = configure()
    result = fit_round(cfg, [hospital], None, tmp_path, STEPS, 0, STEPS)
    everything = {*cfg.modality, "fusion", "objective:alignment", "objective:masked_genes"}
    assert set(result.samples) == everything - lacks
    start = {name: value.numpy() for name, value in build_module(cfg, None, 0, 1).state_dict().items()}
    changed = differ(result.weights, start)
    assert changed
    for modality in lacks & set(cfg.modality):
        assert not [name for name in changed if name.startswith(f"encoder.modalities.{modality}.")]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(configure, tmp_path):
    one, same, other = (
        fit_round(configure(f"seed={seed}"), ["riverside"], None, tmp_path / name, 2, 0, 2)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert differ(one.weights, same.weights) == []
    assert one.metrics == same.metrics
    assert "encoder.fusion.patient" in differ(one.weights, other.weights)


def test_given_weights_are_where_training_starts(configure, tmp_path):
    cfg = configure("optimizer.learning_rate=0.0")
    first = fit_round(configure(), ["riverside"], None, tmp_path / "a", 2, 0, 4)
    second = fit_round(cfg, ["riverside"], first.weights, tmp_path / "b", 1, 2, 4)
    parameters = {name for name, _ in build_module(cfg, None, 0, 1).named_parameters()}
    assert not parameters & set(differ(second.weights, first.weights))


def test_nobody_to_train_on_is_one_line(configure, tmp_path):
    with pytest.raises(UserError, match=r"^summit: no patient to train on; check data\.test_hospitals"):
        fit_round(configure(), ["summit"], None, tmp_path, 1, 0, 1)


def test_one_learning_rate_schedule_spans_all_rounds(configure):
    cfg = configure()
    whole = [*map(build_module(cfg, None, 0, 40).rate, range(41))]
    by_round = [rate for start in range(0, 40, 8) for rate in map(build_module(cfg, None, start, 40).rate, range(8))]
    assert by_round == whole[:40]
    assert whole[4] == max(whole) == 1.0, "warm-up takes a tenth"
    assert whole[:5] == sorted(whole[:5]) and whole[4:] == sorted(whole[4:], reverse=True)
    assert whole[40] == pytest.approx(0.01)


def keep_checkpoints(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keeps what a kill before each step would leave, by the number of steps taken."""
    folder.mkdir()

    def keep(module: PretrainModule, batch: Batch, index: int) -> None:
        last = Path(module.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if last.exists():
            shutil.copy(last, folder / f"{module.trainer.global_step}.ckpt")

    monkeypatch.setattr(PretrainModule, "on_train_batch_start", keep)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_any_step_goes_on_as_if_it_had_not_been(configure, tmp_path, monkeypatch, workers):
    # Two hospitals' 37 patients in batches of 8 and dropped modalities; validation between steps.
    cfg = configure(
        "checkpoint_every=1", "validate_every=3", "data.modality_dropout=0.3", f"data.num_workers={workers}"
    )
    hospitals, steps = ["riverside", "northgate"], 8
    with monkeypatch.context() as patch:
        keep_checkpoints(patch, tmp_path / "kept")
        whole = fit_round(cfg, hospitals, None, tmp_path / "whole", steps, 0, steps)
    assert len(list((tmp_path / "kept").iterdir())) == steps - 1
    for step in range(1, steps) if workers == 0 else (3, 4):
        kept = tmp_path / "kept" / f"{step}.ckpt"
        again = fit_round(cfg, hospitals, None, tmp_path / "whole", steps, 0, steps, resume=kept)
        assert differ(whole.weights, again.weights) == [], f"killed after step {step}"
        assert again.samples == whole.samples


def test_workers_change_nothing(configure, tmp_path):
    alone, helped = (
        fit_round(configure(f"data.num_workers={count}"), ["riverside"], None, tmp_path / str(count), STEPS, 0, STEPS)
        for count in (0, 2)
    )
    assert differ(alone.weights, helped.weights) == []


def pretrain(cohort: Path, output: Path, *more: str) -> warm.Process:
    arguments = ["experiment=demo", "progress=false", "data.batch_size=8", "steps=8", "data.test_hospitals=[]"]
    arguments += ["modality.pathology.max_images=1", "modality.radiology.max_images=1", "checkpoint_every=1"]
    arguments += [f"data.folder={cohort}", f"output={output}", *more]
    return warm.Process("pretrain", arguments, {**os.environ, "OMP_NUM_THREADS": "1"})


def finished(process: warm.Process) -> str:
    _, errors = process.communicate(timeout=240)
    return f"{process.returncode} {errors[-2000:]}"


@pytest.mark.process
def test_a_run_killed_and_resumed_writes_what_an_uninterrupted_one_does(small_cohort: Path, tmp_path: Path):
    assert finished(pretrain(small_cohort, tmp_path / "whole")).startswith("0")
    killed = pretrain(small_cohort, tmp_path / "killed")
    while killed.poll() is None and not list((tmp_path / "killed").glob("checkpoints/*step=3.ckpt")):
        time.sleep(0.005)
    killed.kill()
    assert finished(killed).startswith("-9"), "it was killed, not finished"
    assert not (tmp_path / "killed" / "encoder").exists()
    assert finished(pretrain(small_cohort, tmp_path / "killed", "resume=true")).startswith("0")
    whole, again = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "killed"))
    assert differ(whole, again) == []
    assert again["modalities.genomics.seen"].tolist() == [8.0], "every step counts once"
    record, other = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "killed"))
    assert record["status"] == other["status"] == "finished"
    assert record["notes"]["samples"] == other["notes"]["samples"]


@pytest.mark.process
def test_nothing_to_resume_from_is_one_line(small_cohort: Path, tmp_path: Path):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    said = finished(pretrain(small_cohort, tmp_path / "run", "resume=true"))
    assert said == f"2 error: {last}: nothing to resume from; drop resume=true to start anew\n"
