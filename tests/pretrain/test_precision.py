"""Training in bf16, as on a GPU: `trainer=gpu` on the processor."""

import numpy as np
import pytest
import torch

from foundation.engine.clipping import clip_gradients
from foundation.engine.module import TrainingModule
from pretrain.fit import fit_round

HOSPITALS = ["riverside"]
ON_THE_PROCESSOR = ["trainer=gpu", "trainer.accelerator=cpu", "validate_every=0", "monitor_every=0"]


def test_a_run_in_mixed_precision_clips_and_learns(configure, tmp_path, monkeypatch):
    norms = []

    def watched(module: TrainingModule, optimizer: torch.optim.Optimizer, largest: float, algorithm: str | None):
        clip_gradients(module, optimizer, largest, algorithm)
        grads = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat(grads).norm()))

    monkeypatch.setattr("foundation.engine.module.clip_gradients", watched)
    cfg = configure(*ON_THE_PROCESSOR, "trainer.gradient_clip_val=0.01")
    result = fit_round(cfg, HOSPITALS, None, tmp_path, 3, 0, 3)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)
    assert all(np.isfinite(value).all() for value in result.weights.values())


def test_in_single_precision_clipping_is_lightnings_own_to_the_bit(configure, tmp_path, monkeypatch):
    common = ["validate_every=0", "monitor_every=0", "trainer.gradient_clip_val=0.05"]
    ours = fit_round(configure(*common), HOSPITALS, None, tmp_path / "a", 3, 0, 3)
    monkeypatch.delattr(TrainingModule, "configure_gradient_clipping")
    theirs = fit_round(configure(*common), HOSPITALS, None, tmp_path / "b", 3, 0, 3)
    assert all(np.array_equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)
