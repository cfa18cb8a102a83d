"""Runs that go on from a release: what each way keeps, and what it needs."""

from pathlib import Path

import pytest
import torch

from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.learning.information import Information, curvature
from finetune.learning.memory import Memory
from finetune.learning.pull import Pull
from finetune.learning.replay import Replay
from finetune.predictor import TaskModel
from foundation.errors import UserError
from foundation.files import read_json
from foundation.tensors import read_tensors

KEEPS = ["keeps={memory: 30, information: true}"]


def weights(module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def distance(one, other) -> float:
    return float(sum(((one[name] - other[name]) ** 2).sum() for name in one) ** 0.5)


def test_a_run_goes_on_from_the_release_head_and_keeps_nothing_unasked(run, tmp_path: Path):
    first = weights(run("first", 0, 40))
    assert (
        sorted(path.name for path in (tmp_path / "first").iterdir() if path.name in ("memory", "information.json"))
        == []
    )
    on = weights(run("on", 40, 60, "learning=sequential", "steps=1", "optimizer.learning_rate=1e-9", release="first"))
    assert distance(first, on) < 1e-6


def test_a_strong_pull_moves_less_than_none(run):
    first = weights(run("first", 0, 40, *KEEPS))
    moved = {
        way: distance(first, weights(run(way, 40, 60, f"learning={way}", *settings, release="first")))
        for way, settings in {
            "sequential": [],
            "pull": ["learning.strength=100"],
            "fisher": ["learning.strength=1000"],
            "distillation": ["learning.weight=1000"],
        }.items()
    }
    assert all(moved[way] < 0.5 * moved["sequential"] for way in ("pull", "fisher", "distillation")), moved


def test_replay_of_everybody_is_a_step_on_everybody(run, tmp_path: Path):
    """One step of one batch: new patients and all remembered ones give the gradient of all of them together."""
    run("first", 0, 40, *KEEPS, "keeps.memory=40")
    step = ["steps=1", "data.batch_size=100", "optimizer.warmup=0"]
    replayed = weights(run("replay", 40, 60, "learning=replay", *step, release="first"))
    together = weights(run("together", 0, 60, "learning=sequential", *step, release="first"))
    alone = weights(run("alone", 40, 60, "learning=sequential", *step, release="first"))
    assert distance(replayed, together) < 1e-5 < distance(alone, together)


def test_a_memory_holds_at_most_its_patients_each_with_the_same_chance(run, tmp_path: Path):
    run("first", 0, 40, *KEEPS)
    run("second", 40, 60, "learning=replay", "keeps.memory=15", release="first")
    first, second = Memory.read(tmp_path / "first"), Memory.read(tmp_path / "second")
    assert (len(first.patients), first.behind) == (30, 35)
    assert (len(second.patients), second.behind) == (15, 55)
    assert len(set(second.patients) & set(first.patients)) == 10
    assert read_json(tmp_path / "second" / "memory" / "rows.json", "")["rows"][0] == [second.patients[0]]


def test_information_is_a_sum_that_the_next_release_adds_to(run, tmp_path: Path):
    run("first", 0, 40, *KEEPS)
    run("second", 40, 60, "learning=fisher", "keeps.information=true", release="first")
    first, second = Information.read(tmp_path / "first"), Information.read(tmp_path / "second")
    assert (first.patients, second.patients) == (35, 55)
    assert torch.linalg.eigvalsh(second.values - first.values).min() > -1e-6
    assert second.values.trace() > first.values.trace() > 0


def test_a_frozen_run_goes_on_from_what_was_kept_of_a_trained_encoder(run, tmp_path: Path):
    run("first", 0, 40, "frozen=false", "steps=2", *KEEPS)
    run("replay", 40, 60, "learning=replay", "steps=2", release="first")
    run("fisher", 40, 60, "learning=fisher", "steps=2", "keeps.information=true", release="first")
    first, then = Information.read(tmp_path / "first"), Information.read(tmp_path / "fisher")
    assert first.values.ndim == 1 and then.values.shape == (130, 130)
    assert set(then.names) == {name for name in first.names if name.startswith("head.")}


@pytest.mark.parametrize("kind", ["classes", "hazard"])
def test_curvature_is_that_of_the_loss_by_finite_differences(kind: str):
    generator = torch.Generator().manual_seed(0)
    if kind == "classes":
        head = Classification(4, "label", classes=["a", "b", "c"], class_weights=[1.0, 2.0, 3.0])
        targets = {"label": torch.tensor([0.0, 2, 1, 1, 2])}
    else:
        head = Survival(4)
        targets = {"os_event": torch.tensor([1.0, 0, 1, 1, 0]), "os_days": torch.tensor([5.0, 9, 3, 7, 4])}
    head = head.double()
    scores = torch.randn(5, 3 if kind == "classes" else 1, generator=generator, dtype=torch.double)
    matrices, step = curvature(head, scores, targets), 1e-4
    for place in range(5):
        for one in range(scores.shape[1]):
            for other in range(scores.shape[1]):
                total = 0.0
                for sign_one in (1, -1):
                    for sign_other in (1, -1):
                        moved = scores.clone()
                        moved[place, one] += sign_one * step
                        moved[place, other] += sign_other * step
                        total += sign_one * sign_other * 5 * float(head.loss(moved, targets))
                assert float(matrices[place, one, other]) == pytest.approx(total / (4 * step**2), abs=1e-5)


def test_lora_is_merged_and_its_increment_taken_off_gives_the_release(run, tmp_path: Path):
    run("first", 0, 40, "frozen=false")
    module = run("lora", 40, 60, "frozen=false", "learning=lora", release="first")
    before, after = (read_tensors(tmp_path / name / "encoder" / "model.safetensors", "") for name in ("first", "lora"))
    increment = read_tensors(tmp_path / "lora" / "increment.safetensors", "")
    assert before.keys() == after.keys() == {name.removeprefix("encoder.") for name in module.encoder.state_dict()}
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(increment)
    for name, more in increment.items():
        assert torch.linalg.matrix_rank(more) <= 4
        torch.testing.assert_close(after[name] - more, before[name])
    TaskModel.load(tmp_path / "lora")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["learning=replay"], "keeps no memory of its patients; train the release again with keeps.memory"),
        (["learning=fisher"], "information.json"),
        (["learning=replay", "frozen=false"], "frozen: found false, and Replay needs frozen=true"),
        (["learning=lora"], "frozen: found true, and Lora needs frozen=false"),
        (["learning=pull", "trainer=ddp"], "trainer: a run that goes on from a release is one process"),
        (["keeps.memory=-1"], "keeps.memory: found -1"),
        (["+keeps.memroy=10"], "keeps.memroy: no such setting; there are memory, information"),
    ],
)
def test_what_a_way_needs_is_asked_for_before_it_trains(run, settings, expected):
    run("first", 0, 40, "steps=1")
    with pytest.raises(UserError, match=expected):
        run("second", 40, 60, *settings, release="first")


def test_a_strength_of_nothing_is_refused():
    with pytest.raises(UserError, match="learning.strength: found 0; give a number above 0"):
        Pull(0)
    with pytest.raises(UserError, match="learning: found share=1, most=0"):
        Replay(1, 0)


def test_a_release_of_another_task_is_refused(run):
    run("first", 0, 40, "steps=1")
    with pytest.raises(
        UserError, match=r"^task: .* predicts biomarker by Classification, this run os_event, os_days by"
    ):
        run("second", 40, 60, "learning=pull", release="first", head=Survival(32))
