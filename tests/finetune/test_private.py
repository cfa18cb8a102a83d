"""DP-SGD of heads: one patient's influence, what is spent, and what is refused."""

import json
import math
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig
from opacus.accountants import PRVAccountant

from finetune.fit import fit
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from finetune.private import Private, backward, check, made_private, noise_for, record
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError

WIDTH, CLIP = 8, 0.5


def configured(*overrides: str) -> DictConfig:
    common = ["pretrained=x", "frozen=true", "progress=false", *overrides]
    if not any(override.startswith("private=") for override in overrides):
        common.append("private={noise_multiplier: 1.0}")
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose("finetune", common)


def gradient(fused: torch.Tensor, labels: torch.Tensor, noise: float = 1e-12, seed: int = 0) -> torch.Tensor:
    """The sum that a step takes, clipped and noised, flat."""
    torch.manual_seed(0)
    head = Classification(WIDTH, "idh", class_weights=[1.0, 50.0], dropout=0.0)
    module = FinetuneModule(torch.nn.Identity(), head, frozen=True)
    settings = Private(noise_multiplier=noise, clip=CLIP)
    wrapped, optimizer, _ = made_private(module, settings, noise, 1.0, torch.Generator().manual_seed(seed))
    backward(wrapped, head, fused, {"idh": labels})
    optimizer.pre_step()
    return torch.cat([parameter.grad.flatten() for parameter in head.parameters()])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_patient_moves_the_sum_by_the_clip_at_most(scale, label):
    generator = torch.Generator().manual_seed(1)
    others, labels = torch.randn(6, WIDTH, generator=generator), torch.tensor([0.0, 1, 0, 1, 1, 0])
    one = scale * torch.randn(1, WIDTH, generator=generator)
    without = gradient(others, labels)
    with_one = gradient(torch.cat([others, one]), torch.cat([labels, torch.tensor([label])]))
    assert (with_one - without).norm() <= CLIP * (1 + 1e-5)


def test_a_long_gradient_is_clipped_to_the_clip_and_a_patient_weighs_the_same_in_any_class():
    fused = 5 * torch.ones(1, WIDTH).cumsum(1)
    for label in (0.0, 1.0):
        assert gradient(fused, torch.tensor([label])).norm() == pytest.approx(CLIP, rel=1e-4)


def test_an_empty_step_is_noise_alone_of_the_standard_deviation_that_is_said():
    drawn = torch.stack([gradient(torch.zeros(0, WIDTH), torch.zeros(0), 3.0, seed) for seed in range(60)])
    assert drawn.std() == pytest.approx(3.0 * CLIP, rel=0.05)
    assert drawn.numel() == 60 * (2 * WIDTH + 2 * WIDTH + 2)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "tight", "renyi"),
    [  # dp-accounting 0.6.0: PLDAccountant, which is tight, and RdpAccountant
        (1.12, 256 / 60000, 14063, 2.3102753651059005, 2.518686480817747),
        (1.0, 0.1, 60, 5.572688690906267, 6.336596135764658),
        (0.8, 0.5, 100, 58.07119150595373, 68.70236375026323),
    ],
)
def test_epsilon_is_that_of_an_independent_accountant(noise, rate, steps, tight, renyi):
    found = record(Private(noise_multiplier=noise), noise, rate, steps)["epsilon"]
    assert tight <= found <= renyi * (1 + 1e-9)


def test_the_noise_for_an_epsilon_keeps_it_and_another_accountant_agrees():
    settings = Private(epsilon=3.0)
    noise = noise_for(settings, 0.1, 60)
    found = record(settings, noise, 0.1, 60)["epsilon"]
    assert 2.9 < found <= 3.0
    other = PRVAccountant()
    other.history = [(noise, 0.1, 60)]
    assert 0.75 * found < other.get_epsilon(1e-5) <= found


def test_cox_is_refused_in_one_line_that_says_why():
    with pytest.raises(UserError, match="the loss of Survival couples patients") as caught:
        check(configured("task=survival"), Survival(WIDTH), 100)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["frozen=false"], "set frozen=true"),
        (["resume=true"], "not resumed"),
        (["private={epsilon: 1, noise_multiplier: 1}"], "either epsilon or noise_multiplier"),
        (["private={}"], "either epsilon or noise_multiplier"),
        (["private={epsilon: -1}"], "private.epsilon: found -1"),
        (["private={epsilon: 1, clipp: 1}"], "private.clipp: no such setting"),
        (["private={epsilon: 1, delta: 0.01}"], "private.delta: 0.01 is no protection for 100 patients"),
    ],
)
def test_settings_that_cannot_be_are_refused(overrides, named):
    with pytest.raises(UserError, match=named):
        check(configured(*overrides), Classification(WIDTH, "idh"), 100)


@pytest.fixture
def parts(cohort: Cohort, build) -> tuple:
    model = build()
    patients = list(cohort.patients.index)
    made = [
        PatientDataset(cohort, some, list(model.encoder.modalities), ["biomarker"])
        for some in (patients[:48], patients[48:])
    ]
    return model, *made


def test_a_head_learns_privately_and_says_what_it_spent(parts, tmp_path: Path):
    model, train, validation = parts
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    cfg = configured(
        f"output={tmp_path}", "private={epsilon: 50, clip: 1}", "steps=40", "data.batch_size=16", "validate_every=10"
    )
    module, metrics = fit(cfg, model.encoder, Classification(model.encoder.width, "biomarker"), train, validation)
    assert metrics["privacy/epsilon"] <= 50 and metrics["privacy/delta"] == 1e-5
    assert metrics["validation/best_loss"] < math.log(2) + 0.1
    assert not [name for name in metrics if "train" in name], "training losses tell of training patients"
    assert module.privacy is not None and module.privacy["steps"] == 40
    assert all(torch.equal(value, before[name]) for name, value in module.encoder.state_dict().items())
    assert not any(hasattr(parameter, "grad_sample") for parameter in module.head.parameters())
    assert module.head.predict(module.head(torch.zeros(1, model.encoder.width)))


def test_two_runs_of_one_seed_draw_different_noise(parts, tmp_path: Path):
    model, train, validation = parts
    cfg = configured(f"output={tmp_path}", "steps=1", "validate_every=0")
    heads = []
    for _ in range(2):
        torch.manual_seed(0)
        head = Classification(model.encoder.width, "biomarker")
        fit(cfg, model.encoder, head, train, validation)
        heads.append(head.score[2].weight.detach().clone())
    assert not torch.equal(*heads)


@pytest.mark.slow
@pytest.mark.process
def test_the_command_writes_epsilon_to_the_record_and_takes_no_weights_from_labels(
    parts, small_cohort: Path, tmp_path: Path
):
    model, _, _ = parts
    model.encoder.save_pretrained(tmp_path / "encoder")
    command = [sys.executable, "-m", "finetune", f"pretrained={tmp_path / 'encoder'}", f"data.folder={small_cohort}"]
    command += [f"output={tmp_path / 'run'}", "steps=3", "progress=false", "frozen=true", "private={epsilon: 8}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["metrics"]["privacy/epsilon"] == pytest.approx(content["notes"]["privacy"]["epsilon"])
    assert 7.5 < content["notes"]["privacy"]["epsilon"] <= 8
    assert content["notes"]["privacy"]["assumptions"]
    task = json.loads((tmp_path / "run" / "task.json").read_text())
    assert task["head"]["settings"]["class_weights"] == [1.0, 1.0]
    refused = subprocess.run([*command, "task=survival", "overwrite=true"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: private: the loss of Survival couples patients")
