"""The check of a bundle holds what is said of reliability against the run, beside the prediction."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.module import FinetuneModule
from finetune.predictor import RELIABILITY, TaskModel
from finetune.reliability.module import Reliability
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.tensors import read_tensors, write_tensors
from serve.agreement import _same_reliability, check
from serve.bundle import write_bundle


@pytest.fixture
def reliable(run: Path, tmp_path: Path) -> Path:
    """The run, with what says how far its answers can be relied on."""
    folder = run.with_name(f"{run.name}-{tmp_path.name}")  # beside it, for it names the cohort from there
    shutil.copytree(run, folder)
    model = TaskModel.load(run)
    names = model.task["modalities"]
    sizes = {name: model.encoder.modalities[name].feature_sizes() for name in names}
    blocks = [[name, block, size] for name, inner in sizes.items() for block, size in inner.items()]
    reliability = Reliability(names, blocks, 2).eval()
    reliability.thresholds.fill_(0.7)
    reliability.limits.fill_(3.0)
    for block in reliability.novelty:
        block.below.fill_(1.0)
        block.above.fill_(1.0)
    module = FinetuneModule(model.encoder, model.head)
    module.reliability = reliability
    save(module, OmegaConf.create({"name": "biomarker", "drop_inputs": {}}), names, folder)
    return folder


def test_a_bundle_says_of_reliability_what_the_run_says(reliable: Path, cohort: Cohort, complete: str, tmp_path: Path):
    write_bundle(reliable, tmp_path / "bundle", None, cohort)
    difference, _ = check(reliable, tmp_path / "bundle", cohort, complete)
    assert difference < 1e-4


@pytest.mark.parametrize(("name", "value"), [("limits", 1e-3), ("thresholds", 0.01)])
def test_a_bundle_of_another_reliability_is_refused(
    reliable: Path, cohort: Cohort, complete: str, tmp_path: Path, name: str, value: float
):
    write_bundle(reliable, tmp_path / "bundle", None, cohort)
    tensors = read_tensors(reliable / RELIABILITY, "")
    write_tensors(reliable / RELIABILITY, {**tensors, name: torch.full_like(tensors[name], value)})
    with pytest.raises(UserError, match="says otherwise than .* how far the prediction of .* can be relied on"):
        check(reliable, tmp_path / "bundle", cohort, complete)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        ({"abstain": True}, None, False),
        ({"region": [0.1, 2.0]}, {"region": [0.1, 2.00005]}, True),
        ({"region": [0.1, 2.0]}, {"region": [0.1, 2.1]}, False),
        ({"region": ["a"]}, {"region": ["a", "b"]}, False),
        ({"abstain": True, "reasons": ["x"]}, {"abstain": True, "reasons": ["y"]}, True),
        ({"abstain": True}, {"abstain": False}, False),
        ({"out_of_distribution": {"report": None}}, {"out_of_distribution": {"report": 0.5}}, False),
        ({"out_of_distribution": {"report": 0.5}}, {"out_of_distribution": {}}, False),
    ],
)
def test_reliabilities_are_the_same_but_for_rounding(one, other, same):
    assert _same_reliability(one, other) is same
