"""One site's training, local and federated alike."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from foundation.command import plain
from foundation.data.dictionary import read_dictionary
from foundation.engine.callbacks import StopAfter
from foundation.engine.optimizer_state import ContinuedCohort, KeepOptimizer, OptimizerState
from foundation.engine.run import RunSettings, train
from foundation.engine.trainer import seeded
from foundation.federation.task import RoundResult
from foundation.federation.weights.module import set_weights, to_weights
from foundation.federation.weights.types import Weights
from pretrain.assemble import build_encoder, build_objectives, datasets, load_cohort
from pretrain.module import PretrainModule
from pretrain.monitor import Monitor


def build_module(cfg: DictConfig, weights: Weights | None, start_step: int, total_steps: int) -> PretrainModule:
    """The Lightning module, from given weights or from the seed alone."""
    dictionary = read_dictionary(Path(cfg.data.folder))
    with seeded(cfg.seed):
        encoder = build_encoder(cfg, dictionary)
        objectives = build_objectives(cfg)
    module = PretrainModule(
        encoder,
        objectives,
        weights=plain(cfg.objective_weights),
        **OmegaConf.to_container(cfg.optimizer),  # type: ignore[arg-type]
        total_steps=total_steps,
        start_step=start_step,
    )
    if weights is not None:
        set_weights(module, weights)
    return module


def fit_round(
    cfg: DictConfig,
    hospitals: list[str],
    weights: Weights | None,
    output: Path,
    steps: int,
    start_step: int,
    total_steps: int,
    resume: Path | None = None,
    module: PretrainModule | None = None,
    optimizer_state: OptimizerState | None = None,
    masters: Mapping[str, Tensor] | None = None,
    seconds: float | None = None,
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
        module: to train, with its weights in place; built from the config and `weights` if None.
        optimizer_state: what an earlier round left: with it, this one goes on with the optimiser's state and with the
            patients whose turn it is. Without, it begins with a fresh optimiser, and an order of patients that follows
            from seed and `start_step`.
        masters: see `KeepState`.
        seconds: to give up after, between two steps; never if None.
    """
    cohort, parts = load_cohort(cfg, hospitals)
    if module is None:
        module = build_module(cfg, weights, start_step, total_steps)
    train_part, validation = datasets(cfg, cohort, parts, list(module.encoder.modalities))
    if cfg.untrained:
        return RoundResult(to_weights(module.state_dict()), {}, {})
    seed = cfg.seed + start_step if optimizer_state is None else cfg.seed
    data = ContinuedCohort(
        train_part,
        validation,
        module.encoder,
        batch_size=cfg.data.batch_size,
        seed=seed,
        modality_dropout=cfg.data.modality_dropout,
        num_workers=cfg.data.num_workers,
        prefetch_factor=cfg.data.prefetch_factor,
        pin_memory=cfg.data.pin_memory,
    )
    callbacks: list[Callback] = []
    batches = 0
    if optimizer_state is not None:
        batches, data.start = optimizer_state.position()
        callbacks.append(KeepOptimizer(optimizer_state, data))
    if seconds is not None:
        callbacks.append(StopAfter(seconds, "round"))
    monitor = Monitor(train_part, validation, cfg.monitor_every)
    if cfg.monitor_every and len(validation):
        callbacks.append(monitor)
    settings = replace(RunSettings.read(cfg, output, steps), seed=seed)
    result = train(module, data, settings, resume, masters=masters, callbacks=callbacks, batches=batches)
    return RoundResult(to_weights(result.state), dict(module.samples), result.metrics | monitor.latest)
