"""One site's training: whose data it opens, what it counts, and that it reproduces and resumes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from foundation.errors import UserError
from pretrain.assemble import load_cohort
from pretrain.fit import build_module, fit_round

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
    with pytest.raises(FileNotFoundError):
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
    whole = [build_module(cfg, None, 0, 40).rate(step) for step in range(41)]
    by_round = [build_module(cfg, None, start, 40).rate(step) for start in range(0, 40, 8) for step in range(8)]
    assert by_round == whole[:40]
    assert whole[4] == max(whole) == 1.0, "warm-up takes a tenth"
    assert whole[:5] == sorted(whole[:5]) and whole[4:] == sorted(whole[4:], reverse=True)
    assert whole[40] == pytest.approx(0.01)


def pretrain(cohort: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["experiment=demo", "progress=false", "data.batch_size=8", "steps=8", "data.test_hospitals=[]"]
    arguments += ["modality.pathology.max_images=1", "modality.radiology.max_images=1", "checkpoint_every=3"]
    return subprocess.run(
        [sys.executable, "-m", "pretrain", *arguments, f"data.folder={cohort}", f"output={output}", *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.process
def test_a_run_resumes_from_its_last_checkpoint_to_the_full_number_of_steps(small_cohort: Path, tmp_path: Path):
    done = pretrain(small_cohort, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    whole = load_file(tmp_path / "run" / "encoder" / "model.safetensors")
    shutil.rmtree(tmp_path / "run" / "encoder")
    done = pretrain(small_cohort, tmp_path / "run", "resume=true")
    assert done.returncode == 0, done.stderr[-2000:]
    again = load_file(tmp_path / "run" / "encoder" / "model.safetensors")
    # Every step counted once: six before the checkpoint, two after. The batches of a broken epoch are drawn anew, so
    # the weights themselves are those of another order of patients.
    counters = [name for name in whole if name.endswith(("num_batches_tracked", ".seen"))]
    assert differ({name: whole[name] for name in counters}, {name: again[name] for name in counters}) == []
    assert again["modalities.genomics.seen"].tolist() == [8.0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert list((tmp_path / "run" / "checkpoints").glob("*step=6.ckpt"))


@pytest.mark.process
def test_nothing_to_resume_from_is_one_line(small_cohort: Path, tmp_path: Path):
    done = pretrain(small_cohort, tmp_path / "run", "resume=true")
    assert done.returncode == 2
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert done.stderr == f"error: {last}: nothing to resume from; drop resume=true to start anew\n"
