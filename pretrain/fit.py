"""One site's training, local and federated alike."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from foundation.data.dataset import CohortModule, Collate, PatientDataset
from foundation.engine.deepspeed import consolidated_state
from foundation.engine.trainer import build_trainer, quiet, seeded
from foundation.retrieval import retrieval
from pretrain.assemble import build_encoder, build_objectives, datasets, load_cohort
from pretrain.module import PretrainModule

Weights = dict[str, NDArray[np.generic]]


@dataclass
class RoundResult:
    """What training gave back.

    Attributes:
        weights: encoder and objectives, by parameter name.
        samples: by parameter group, patients that taught it, counted once a step.
        metrics: losses of training and validation.
    """

    weights: Weights
    samples: dict[str, int]
    metrics: dict[str, float]


def build_module(cfg: DictConfig, weights: Weights | None, start_step: int, total_steps: int) -> PretrainModule:
    """The Lightning module, from given weights or from the seed alone."""
    cohort, _ = load_cohort(cfg)
    with seeded(cfg.seed):
        encoder = build_encoder(cfg, cohort)
        objectives = build_objectives(cfg)
    module = PretrainModule(
        encoder,
        objectives,
        weights=dict(cfg.objective_weights),
        **OmegaConf.to_container(cfg.optimizer),  # type: ignore[arg-type]
        total_steps=total_steps,
        start_step=start_step,
    )
    if weights is not None:
        set_weights(module, weights)
    return module


def get_weights(module: nn.Module) -> Weights:
    """Parameters and buffers as arrays: the one place where weights leave torch."""
    return {
        name: value.float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in consolidated_state(module).items()
    }


def set_weights(module: nn.Module, weights: Weights) -> None:
    """The way back; every name must fit."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})


def fit_round(
    cfg: DictConfig,
    hospitals: list[str],
    weights: Weights | None,
    output: Path,
    steps: int,
    start_step: int,
    total_steps: int,
    resume: Path | None = None,
) -> RoundResult:
    """Trains on some hospitals' patients from given weights for a number of steps.

    Args:
        cfg: the resolved config of `pretrain` or `pretrain.federated`.
        hospitals: whose data are read; nobody else's are.
        weights: to start from; those of the seed if None.
        output: for logs and checkpoints.
        steps: optimiser steps to take.
        start_step: steps of the whole run already taken (one learning-rate schedule spans all rounds).
        total_steps: of the whole run.
        resume: a Lightning checkpoint to go on from exactly.
    """
    cohort, parts = load_cohort(cfg)
    module = build_module(cfg, weights, start_step, total_steps)
    train, validation = datasets(cohort, parts, hospitals, list(module.encoder.modalities))
    data = CohortModule(
        train,
        validation,
        module.encoder,
        batch_size=cfg.data.batch_size,
        seed=cfg.seed + start_step,
        modality_dropout=cfg.data.modality_dropout,
    )
    trainer = build_trainer(
        cfg.trainer,
        output,
        steps,
        validates=len(validation) > 0,
        save_every=cfg.checkpoint_every,
        progress=cfg.progress,
    )
    with seeded(cfg.seed + start_step), quiet():
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False if resume else None)
    found = {name: float(value) for name, value in trainer.logged_metrics.items()}
    return RoundResult(get_weights(module), dict(module.samples), found)


@torch.no_grad()
def evaluate_weights(cfg: DictConfig, hospitals: list[str], weights: Weights) -> dict[str, float]:
    """Retrieval between modalities on some hospitals' patients outside training.

    Those are the test patients of a held-out hospital, and the validation patients of any other.
    """
    cohort, parts = load_cohort(cfg)
    module = build_module(cfg, weights, 0, 1).eval()
    own = set(cohort.patients.index[cohort.patients["hospital"].isin(hospitals)])
    patients = [p for p in [*parts.validation, *parts.test] if p in own]
    dataset = PatientDataset(cohort, patients, list(module.encoder.modalities))
    if not dataset:
        return {"patients": 0.0}
    return {"patients": float(len(dataset)), **evaluate_retrieval(module, dataset, cfg.data.batch_size)}


@torch.no_grad()
def evaluate_retrieval(module: PretrainModule, dataset: PatientDataset, batch_size: int) -> dict[str, float]:
    """Embeds every patient, then ranks: see `foundation.retrieval`."""
    collate = Collate(module.encoder, train=False, seed=0)
    embeddings: dict[str, list[torch.Tensor]] = {}
    present: dict[str, list[torch.Tensor]] = {name: [] for name in module.encoder.modalities}
    for batch in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
        for name, who in batch.present.items():
            present[name].append(who)
        for name, values in module.encoder(batch).embeddings.items():
            embeddings.setdefault(name, []).append(values)
    return retrieval(
        {name: torch.cat(values) for name, values in embeddings.items()},
        {name: torch.cat(values) for name, values in present.items()},
    )
