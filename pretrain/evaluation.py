"""Evaluation of weights on patients outside training: losses, retrieval, and signs of collapse."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from foundation.data.dataset import Collate, PatientDataset
from foundation.engine.trainer import seeded
from foundation.federation.weights.types import Weights
from foundation.representation_metrics import representation_metrics
from foundation.retrieval import retrieval
from pretrain.assemble import load_cohort
from pretrain.embedding import embed
from pretrain.fit import build_module
from pretrain.module import PretrainModule


def evaluate_weights(cfg: DictConfig, hospitals: list[str], weights: Weights) -> dict[str, float]:
    """Losses, retrieval and signs of collapse on some hospitals' patients outside training.

    Those are the test patients of a hospital that is held out, and the validation patients of any other.

    Args:
        cfg: the resolved config of `pretrain` or `pretrain.federated`.
        hospitals: whose data are read; nobody else's are.
        weights: of encoder and objectives.

    Returns:
        `patients`, `loss`, a loss an objective, and what `retrieval` and `representation_metrics` give.
    """
    return evaluate_module(cfg, hospitals, build_module(cfg, weights, 0, 1))


def evaluate_module(cfg: DictConfig, hospitals: list[str], module: PretrainModule) -> dict[str, float]:
    """The same of a module with its weights in place."""
    cohort, parts = load_cohort(cfg, hospitals)
    module.eval()
    modalities = list(cfg.data.modalities or module.encoder.modalities)
    dataset = PatientDataset(cohort, parts.evaluation(bool(cfg.data.test_hospitals)), modalities)
    if not dataset:
        return {"patients": 0.0}
    with seeded(cfg.seed):
        seen = embed(module.encoder, dataset)
        losses = _losses(module, dataset, cfg.data.batch_size, cfg.seed)
    metrics = {
        **losses,
        **retrieval(seen.embeddings, seen.present),
        **representation_metrics(seen.embeddings, seen.present),
    }
    return {"patients": float(len(dataset)), **metrics}


@torch.no_grad()
def _losses(module: PretrainModule, dataset: PatientDataset, batch_size: int, seed: int) -> dict[str, float]:
    """Mean loss by objective; genes are masked as in training, drawn from the seed, so rounds compare."""
    loader: Any = DataLoader(dataset, batch_size=batch_size, collate_fn=Collate(module.encoder, True, seed))
    sums: dict[str, list[float]] = {}
    for batch in loader:
        output = module.encoder(batch)
        for name, objective in module.objectives.items():
            term = objective(module.encoder, output, batch)
            if term is not None:
                sums.setdefault(name, []).append(float(term.loss))
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    total = sum(module.weights[name].at(1.0) * value for name, value in means.items())
    return {**means, "loss": total} if means else {}
