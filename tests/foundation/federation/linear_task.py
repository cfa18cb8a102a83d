"""A federated task with nothing of pretraining in it: a linear model of a few synthetic columns a patient.

What trains is imported when it trains, for a server has no training stack.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from foundation.federation.task import Evaluation, FederatedTask, RoundOptions, RoundResult

if TYPE_CHECKING:
    from torch import Tensor, nn

    from foundation.engine.drift_correction import DriftCorrection
    from foundation.engine.optimizer_state import OptimizerState

TARGET = "tests.foundation.federation.linear_task.LinearTask"
COLUMNS = 3
RATE = 0.1


class LinearTask(FederatedTask):
    """Least squares by plain gradient steps on all train patients at once."""

    name = "linear"

    def build(self, start_step: int = 0, total_steps: int = 1) -> nn.Module:
        import torch
        from torch import nn

        torch.manual_seed(self.cfg.seed)
        return nn.ModuleDict({"line": nn.Linear(COLUMNS, 1)})

    def train(
        self,
        module: nn.Module,
        options: RoundOptions,
        drift: DriftCorrection | None = None,
        optimizer_state: OptimizerState | None = None,
        masters: Mapping[str, Tensor] | None = None,
    ) -> RoundResult:
        import torch

        from foundation.federation.weights.module import to_weights

        patients = self.patients("train")
        optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
        if drift is not None:
            drift.begin(module)
        for _ in range(options.steps):
            optimizer.zero_grad()
            loss = _loss(module, patients)
            term = None if drift is None else drift.term(["line"], RATE)
            (loss if term is None else loss + term).backward()
            optimizer.step()
        state = {name: value.detach() for name, value in module.state_dict().items()}
        samples = {"line": len(patients) * options.steps}
        return RoundResult(to_weights(state), samples, {"train/loss_epoch": float(loss.detach())})

    def evaluate(self, module: nn.Module) -> Evaluation:
        import torch

        patients = self.patients("evaluation")
        with torch.no_grad():
            return Evaluation({"patients": float(len(patients)), "loss": float(_loss(module, patients))})

    def export(self, module: nn.Module, output: Path) -> Path:
        from safetensors.torch import save_file

        path = output / "line.safetensors"
        save_file(module.state_dict(), path)
        return path


def _loss(module: nn.Module, patients: Sequence[str]) -> Tensor:
    import torch
    from torch import nn

    columns, target = (torch.from_numpy(values) for values in synthetic(patients))
    line: Any = module.get_submodule("line")
    return nn.functional.mse_loss(line(columns)[:, 0], target)


def synthetic(patients: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns `[patients, 3]` and a target `[patients]` that a linear model tells from them; drawn by the patient."""
    draws = np.stack([np.random.default_rng(zlib.crc32(name.encode())).normal(size=COLUMNS + 1) for name in patients])
    columns = draws[:, :COLUMNS]
    return columns.astype(np.float32), (columns @ [1.0, -2.0, 0.5] + 3 + 0.1 * draws[:, COLUMNS]).astype(np.float32)


def linear_config(cohort: Path, output: Path, sites: Sequence[str], **more: Any) -> DictConfig:
    """A run of it: what the federation reads of a config, and no word of the groups of `configs/federated.yaml`."""
    content = {
        "federated_task": {"_target_": TARGET},
        "cohort": {"name": "demo"},
        "seed": 0,
        "sites": list(sites),
        "rounds": 3,
        "steps_per_round": 1,
        "keep_optimizer": False,
        "quorum": 1.0,
        "deadline": None,
        "join_seconds": 60,
        "memory_mib": 64,
        "statistics": ["counts"],
        "compare": [],
        "data": {
            "folder": str(cohort),
            "test_hospitals": [],
            "batch_size": 32,
            "folds": 0,
            "fold": 0,
            "stratify": None,
            "split_file": None,
            "validation_fraction": 0.15,
            "split_seed": 0,
        },
        "trainer": {"accelerator": "cpu", "devices": 1},
        "strategy": {"_target_": "foundation.federation.strategies.averaging.FedAvg"},
        "compression": {"_target_": "foundation.federation.wire.compression.Compressor", "kind": "fp32"},
        "screening": {"_target_": "foundation.federation.server.screening.Screening", "factor": 100.0},
        "privacy": {"_target_": "foundation.federation.privacy.base.Privacy"},
        "federation": {"kind": "serial"},
        "resume": False,
        "progress": False,
        "output": str(output),
    }
    return OmegaConf.create({**content, **more})


def pooled_weights(cfg: DictConfig) -> dict[str, NDArray[np.generic]]:
    """Weights of as many steps over the train patients of all sites together."""
    from foundation.data.cohort import Cohort

    task = LinearTask(cfg)
    task.cohort = Cohort(Path(cfg.data.folder), list(cfg.sites))
    module = task.build()
    steps = cfg.rounds * cfg.steps_per_round
    return task.train(module, RoundOptions("", 0, steps, steps)).weights
