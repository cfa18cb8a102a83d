"""A round of a head's training at a site: the ordinary training run, from the round's weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from finetune.criterion import HeadCriterion
from finetune.embeddings import EmbeddedCohort
from finetune.federated.features import scores, targets_of
from finetune.federated.module import FederatedModule
from foundation.batch import Batch
from foundation.data.dataset import PatientDataset
from foundation.data.loader import PatientLoader
from foundation.engine.callbacks import StopAfter
from foundation.engine.optimizer_state import ContinuedCohort, KeepOptimizer, OptimizerState
from foundation.engine.run import RunSettings, train
from foundation.federation.task import RoundOptions, RoundResult
from foundation.federation.weights.module import to_weights


class ContinuedEmbeddings(ContinuedCohort, EmbeddedCohort):
    """Batches of embeddings from a position on."""

    def train_dataloader(self) -> PatientLoader:
        return super().train_dataloader()


def cohort_of(
    cfg: DictConfig, module: FederatedModule, train: PatientDataset, validation: PatientDataset, folder: Path, seed: int
) -> ContinuedCohort:
    """Batches of inputs; of embeddings, computed once, where the encoder is frozen and nothing is augmented.

    Args:
        cfg: of the run, as the site follows it.
        module: whose encoder makes them.
        train: patients to learn from.
        validation: patients to measure on.
        folder: of the site's own, for embeddings.
        seed: of the order of patients and of the modalities that a step hides.
    """
    settings: dict[str, Any] = {
        "batch_size": cfg.data.batch_size,
        "seed": seed,
        "modality_dropout": cfg.data.modality_dropout,
        "num_workers": cfg.data.num_workers,
        "prefetch_factor": cfg.data.prefetch_factor,
        "pin_memory": cfg.data.pin_memory,
    }
    augment = not cfg.frozen if cfg.data.augment is None else cfg.data.augment
    if cfg.frozen and not augment and cfg.embeddings is not None:
        return ContinuedEmbeddings(folder, train, validation, module.encoder, **settings)
    return ContinuedCohort(train, validation, module.encoder, augment=augment, **settings)


def fit_round(
    cfg: DictConfig,
    module: FederatedModule,
    train_part: PatientDataset,
    options: RoundOptions,
    folder: Path,
    optimizer_state: OptimizerState | None = None,
    masters: Any = None,
) -> RoundResult:
    """Trains a module, with the round's weights in it, on a site's patients.

    Args:
        cfg: of the run, as the site follows it.
        module: see `FederatedModule`.
        train_part: the site's train patients with a target.
        options: of the round.
        folder: of the site's own, for embeddings.
        optimizer_state: as for `FederatedTask.train`.
        masters: likewise.
    """
    module.take_counts()
    seed = cfg.seed + options.start_step if optimizer_state is None else cfg.seed
    nobody = PatientDataset(train_part.cohort, [], train_part.modalities, train_part.targets, train_part.drop_inputs)
    data = cohort_of(cfg, module, train_part, nobody, folder, seed)
    callbacks: list[Callback] = []
    batches = 0
    if optimizer_state is not None:
        batches, data.start = optimizer_state.position()
        callbacks.append(KeepOptimizer(optimizer_state, data))
    if options.seconds is not None:
        callbacks.append(StopAfter(options.seconds, "round"))
    settings = replace(RunSettings.read(cfg, Path(options.scratch), options.steps), seed=seed)
    result = train(module, data, settings, masters=masters, callbacks=callbacks, batches=batches)
    return RoundResult(to_weights(result.state), dict(module.samples), result.metrics)


@torch.no_grad()
def measure(module: FederatedModule, part: PatientDataset, folder: Path | None) -> dict[str, float]:
    """Loss, and the head's metrics where they are defined, of some patients; as at evaluation, nothing augmented."""
    if not len(part):
        return {"patients": 0.0}
    criterion = HeadCriterion(module.head)
    batch = Batch(part.patients, {}, {}, targets_of(part))
    criterion.add(batch, scores(module, part, folder))
    return {"patients": float(len(part)), **criterion.measure()}
