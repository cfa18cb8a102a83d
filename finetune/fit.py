"""Training a head: fit, take the best weights, calibrate, save."""

import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from finetune.heads.base import Head, Targets
from finetune.module import FinetuneModule
from finetune.predictor import FORMAT
from finetune.private import check, train_privately
from foundation.command import plain
from foundation.data.dataset import CohortModule, Collate, PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine.trainer import SeedSteps, build_trainer, quiet, seeded
from foundation.errors import UserError
from foundation.files import write_json
from foundation.tensors import write_tensors


def fit(
    cfg: DictConfig, encoder: MultimodalEncoder, head: Head, train: PatientDataset, validation: PatientDataset
) -> tuple[FinetuneModule, dict[str, float]]:
    """Trains, goes back to the weights with the lowest validation loss, and calibrates there.

    Raises:
        UserError: if a part has too few patients, or there is nothing to resume from.
    """
    for name, part in (("train", train), ("validation", validation)):
        if len(part) < 2:
            raise UserError(f"task.{cfg.task.name}: {len(part)} patients to {name}; the target must be known for more")
    private = None if cfg.private is None else check(cfg, head, len(train))
    output = Path(cfg.output)
    last = output / "checkpoints" / "last.ckpt"
    if cfg.resume and not last.is_file():
        raise UserError(f"{last}: nothing to resume from; drop resume=true to start anew")
    if not cfg.resume:
        shutil.rmtree(output / "checkpoints", ignore_errors=True)
    module = FinetuneModule(encoder, head, cfg.frozen, **plain(cfg.optimizer), total_steps=cfg.steps)
    module.train()
    if private is None:
        metrics = _train(cfg, module, train, validation)
    else:
        with seeded(cfg.seed):
            metrics, module.privacy = train_privately(cfg, module, train, validation, private)
    module.cpu().eval()
    scores, targets = score(module, validation)
    none = scores[:0], {name: value[:0] for name, value in targets.items()}
    # Under privacy nothing of a training patient counts but the noisy gradients.
    head.calibrate(scores, targets, score(module, train) if private is None else none)
    return module, metrics


def _train(
    cfg: DictConfig, module: FinetuneModule, train: PatientDataset, validation: PatientDataset
) -> dict[str, float]:
    """Lightning's training, then the weights with the lowest validation loss; its metrics."""
    output = Path(cfg.output)
    data = CohortModule(
        train,
        validation,
        module.encoder,
        batch_size=cfg.data.batch_size,
        seed=cfg.seed,
        modality_dropout=cfg.data.modality_dropout,
        num_workers=cfg.data.num_workers,
        prefetch_factor=cfg.data.prefetch_factor,
        pin_memory=cfg.data.pin_memory,
    )
    best = ModelCheckpoint(output / "checkpoints", filename="best", monitor="validation/loss", save_weights_only=True)
    callbacks = [best, SeedSteps(cfg.seed)]
    trainer = build_trainer(
        cfg.trainer, output, cfg.steps, cfg.validate_every, cfg.checkpoint_every, cfg.progress, callbacks
    )
    with seeded(cfg.seed), quiet():
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=output / "checkpoints" / "last.ckpt" if cfg.resume else None,
            weights_only=False,
        )
    if best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    metrics = {name: float(value) for name, value in trainer.logged_metrics.items()}
    if best.best_model_score is not None:
        metrics["validation/best_loss"] = float(best.best_model_score)
    return metrics


@torch.no_grad()
def score(module: FinetuneModule, dataset: PatientDataset, batch_size: int = 64) -> tuple[Tensor, Targets]:
    """Raw scores `[patients, outputs]` and targets `[patients]` of a part, without augmentation."""
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=Collate(module.encoder, train=False, seed=0))
    parts = [(module.head(module.encoder(batch).fused), batch.targets) for batch in loader]
    targets = {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}
    return torch.cat([scores for scores, _ in parts]), targets


def save(module: FinetuneModule, task: DictConfig, modalities: list[str], output: Path) -> None:
    """Writes encoder folder, head and task description, each under a temporary name first."""
    module.encoder.save_pretrained(output / "encoder")
    head = module.head
    write_tensors(output / "head.safetensors", head.state_dict())
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": task.name,
        "kind": head.kind,
        "head": {"type": f"{type(head).__module__}.{type(head).__qualname__}", "settings": head.settings()},
        "modalities": modalities,
        "drop_inputs": plain(task.drop_inputs) if task.drop_inputs else {},
    }
    write_json(output / "task.json", content)
