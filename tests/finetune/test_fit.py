"""A head in an ordinary run: it learns, keeps its best weights, stops early, resumes exactly, on any trainer."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from finetune.fit import fit
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from foundation.batch import Batch
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.files import read_json, write_json
from tests import warm
from tests.finetune.test_private import configured as composed

State = dict[str, torch.Tensor]
Train = Callable[..., tuple[FinetuneModule, dict[str, float]]]


def configured(output: Path, *overrides: str):
    settings = ["frozen=false", "private=null", "data.batch_size=8", "progress=false", "loggers=[csv]", "speed_every=0"]
    return composed(f"output={output}", *settings, *overrides)


@pytest.fixture
def train(cohort: Cohort, build, tmp_path: Path) -> Train:
    """Trains a head on the first patients, validated on others."""

    def trained(folder: str, *overrides: str, head: type[Head] = Classification):
        torch.manual_seed(0)
        encoder = build().encoder
        made = Survival(encoder.width) if head is Survival else Classification(encoder.width, "biomarker")
        patients = list(cohort.patients.index)
        parts = [
            PatientDataset(cohort, some, list(encoder.modalities), made.targets)
            for some in (patients[:40], patients[40:60])
        ]
        return fit(configured(tmp_path / folder, *overrides), encoder, made, *parts)

    return trained


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "csv" / "metrics.csv")


def test_a_head_learns_and_leaves_curves_speed_and_its_best_weights(train: Train, tmp_path: Path):
    settings = ["steps=30", "validate_every=5", "speed_every=5", "data.modality_dropout=0.0"]
    module, metrics = train("run", *settings, "optimizer.learning_rate=0.01")
    table = curves(tmp_path / "run")
    losses = table["validation/loss"].dropna()
    assert len(losses) == 6
    assert table["train/loss_epoch"].dropna().iloc[-1] < table["train/loss_epoch"].dropna().iloc[0]
    assert metrics["validation/best_loss"] == pytest.approx(losses.min(), rel=1e-5)
    assert {"validation/auc", "validation/ece", "speed/samples_per_second", "speed/model_flops_per_second"} <= set(
        table
    )
    best = load_file(tmp_path / "run" / "checkpoints" / "best.safetensors")
    state = module.state_dict()
    calibration = {"head.log_scale", "head.shift"}
    assert equal(
        {name: best[name] for name in best.keys() - calibration},
        {name: state[name] for name in best.keys() - calibration},
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("calibration.patients=0", "calibration.patients: found 0; give a count from 1 on"),
        ("+calibration.pateints=9", "calibration.pateints: no such setting; there are patients, outcome"),
        ("reliability.coverage=2", "reliability.coverage: found 2"),
    ],
)
def test_settings_of_what_follows_training_are_refused_before_it(train: Train, tmp_path: Path, override, expected):
    with pytest.raises(UserError, match=expected):
        train("wrong", override)
    assert not (tmp_path / "wrong").exists()


def test_a_trained_head_is_calibrated_by_subset_unless_told_not_to(train: Train):
    settings = ["steps=2", "validate_every=2", "reliability=null"]
    module, _ = train("subsets", *settings, "calibration={patients: 5, outcome: 1}")
    assert module.subsets is not None and module.subsets.fitted
    code = sum(1 << module.subsets.modalities.index(name) for name in module.subsets.fitted[0]["modalities"])
    assert (module.subsets.scale[code] != 1).all()
    assert train("pooled", *settings, "calibration=null")[0].subsets is None


def test_the_best_weights_are_those_of_the_metric_that_is_asked_for(train: Train, tmp_path: Path):
    settings = ["steps=20", "validate_every=2", "optimizer.learning_rate=0.02"]
    _, metrics = train("run", *settings, "best_by=auc")
    assert metrics["validation/best_auc"] == pytest.approx(curves(tmp_path / "run")["validation/auc"].max(), rel=1e-5)
    with pytest.raises(UserError, match=r"^best_by: found 'ece'; choose loss or auc$"):
        train("other", "best_by=ece")


def test_a_run_that_gets_no_better_stops_and_its_resumed_copy_too(train: Train, tmp_path: Path):
    # A learning rate of nothing: the first validation is never bettered.
    settings = ["steps=20", "validate_every=2", "patience=2", "optimizer.learning_rate=0.0", "checkpoint_every=2"]
    settings += ["frozen=true"]
    first, _ = train("run", *settings)
    assert curves(tmp_path / "run")["validation/loss"].dropna().size == 3
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").resolve().name == "step=6.ckpt"
    again, _ = train("run", *settings, "resume=true")
    assert equal(first.state_dict(), again.state_dict())
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").resolve().name == "step=6.ckpt", "nothing was trained anew"
    with pytest.raises(UserError, match=r"^patience: found 0; give validations, at least 1, or null$"):
        train("other", "patience=0")


@pytest.mark.parametrize("head", [Classification, Survival])
def test_a_head_resumed_at_any_step_ends_as_if_it_had_not_been(
    head: type[Head], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = ["steps=8", "validate_every=3", "checkpoint_every=1", "patience=9"]
    kept = tmp_path / "kept"
    kept.mkdir()

    def keep(module: FinetuneModule, batch: Batch, index: int) -> None:
        last = tmp_path / "whole" / "checkpoints" / "last.ckpt"
        if last.exists():
            shutil.copytree(last.parent, kept / str(module.trainer.global_step), symlinks=True)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "on_train_batch_start", keep)
        whole, metrics = train("whole", *settings, head=head)
    shutil.copytree(tmp_path / "whole" / "checkpoints", kept / "8", symlinks=True)
    for step in range(1, 9):
        shutil.copytree(kept / str(step), tmp_path / str(step) / "checkpoints", symlinks=True)
        again, measured = train(str(step), *settings, "resume=true", head=head)
        assert equal(whole.state_dict(), again.state_dict()), f"killed after step {step}"
        assert measured["validation/best_loss"] == metrics["validation/best_loss"]


@pytest.fixture(scope="module")
def pretrained(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    encoder: MultimodalEncoder = build().encoder
    encoder.save_pretrained(folder)
    return folder


def finetune(pretrained: Path, cohort: Path, output: Path, *more: str, processes: int = 1) -> str:
    """Exit status and the last line of errors."""
    arguments = [f"pretrained={pretrained}", f"data.folder={cohort}", f"output={output}", "progress=false", "steps=6"]
    # Without dropout, whose numbers differ from process to process.
    arguments += [
        "validate_every=2",
        "checkpoint_every=3",
        "speed_every=2",
        "data.modality_dropout=0.0",
        "loggers=[csv]",
    ]
    arguments += ["+task.head.dropout=0.0", "data.test_hospitals=[summit]", *more]
    done = warm.run("finetune", arguments, processes=processes)
    return f"{done.returncode} {(done.stderr.splitlines() or [''])[-1]}"


@pytest.fixture(scope="module")
def alone(pretrained: Path, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The head that one process trains."""
    output = tmp_path_factory.mktemp("alone")
    one = finetune(pretrained, small_cohort, output, "data.batch_size=8", "frozen=true")
    assert one.startswith("0"), one
    return load_file(output / "head.safetensors")


@pytest.mark.process
@pytest.mark.parametrize("trainer", [pytest.param("ddp", marks=pytest.mark.slow), "deepspeed_zero2"])
def test_two_processes_train_the_head_that_one_does_and_resume(
    trainer: str, alone: dict[str, torch.Tensor], pretrained: Path, small_cohort: Path, tmp_path: Path
):
    two = [f"trainer={trainer}", "trainer.accelerator=cpu", "++trainer.precision=32-true", "data.batch_size=4"]
    several = finetune(pretrained, small_cohort, tmp_path / "two", *two, "frozen=true", processes=2)
    assert several.startswith("0"), several
    together = load_file(tmp_path / "two" / "head.safetensors")
    for name in (name for name in alone if name.startswith("score.")):  # calibration is fitted on top
        value = alone[name]
        torch.testing.assert_close(together[name], value, atol=1e-4, rtol=0, msg=lambda text, at=name: f"{at}: {text}")
    shutil.rmtree(tmp_path / "two" / "encoder")
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    last.unlink()
    last.symlink_to("step=3.ckpt")
    record = read_json(tmp_path / "two" / "run.json", "")
    write_json(tmp_path / "two" / "run.json", record | {"status": "failed"})
    several = finetune(pretrained, small_cohort, tmp_path / "two", *two, "frozen=true", "resume=true", processes=2)
    assert several.startswith("0"), several
    again = load_file(tmp_path / "two" / "head.safetensors")
    for name, value in together.items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=0, msg=lambda text, at=name: f"{at}: {text}")
    assert read_json(tmp_path / "two" / "run.json", "")["status"] == "finished"
    if trainer != "ddp":
        write_json(tmp_path / "two" / "run.json", record | {"status": "failed"})
        same = ["data.batch_size=4", "++trainer.precision=32-true", "++trainer.gradient_clip_val=1.0"]
        refused = finetune(pretrained, small_cohort, tmp_path / "two", *same, "frozen=true", "resume=true")
        assert re.match(r"2 error: .*step=6\.ckpt: written by a trainer that keeps DeepSpeed ZeRO-2 on 2 proc", refused)
