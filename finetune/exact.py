"""Experts in the place of training by steps: features once, a fit of seconds, and scores of patients left out."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from finetune.features import FeatureCache
from finetune.heads.base import Head
from finetune.patients import target_columns
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder


def feature_cache(cfg: DictConfig, encoder: MultimodalEncoder, patients: PatientDataset) -> FeatureCache:
    """Where the config keeps the features of some patients' cohort."""
    folder = None if cfg.embeddings is None else Path(cfg.embeddings)
    return FeatureCache(folder, encoder, patients.cohort, patients.drop_inputs)


def fit_exactly(
    features: FeatureCache, head: Head, train: PatientDataset, validation: PatientDataset
) -> dict[str, float]:
    """Fits the head's experts on training and validation patients together.

    Penalties, weights and calibration come from scores by fits that have not seen a patient's hospital, so none of the
    patients need be set aside for them.

    Returns:
        Metrics of those scores.

    Raises:
        UserError: see `finetune.experts.fit`.
    """
    patients = [*train.patients, *validation.patients]
    columns = target_columns(train.cohort, patients, head)
    hospitals = train.cohort.patients.loc[patients, "hospital"].tolist()
    scores = head.fit_experts(features.of(patients, train.modalities), columns, hospitals)
    known = ~scores.isnan().any(dim=1)
    estimates = head.estimate(scores[known]).numpy().astype(np.float64)
    judged = [values[known.numpy()] for values in columns.values()]
    return {
        f"left_out/{name}": metric.value(*judged, estimates)
        for name, metric in head.metrics().items()
        if metric.defined(*judged)
    }
