"""Experts in the place of training by steps: features once, a fit of seconds, and scores of patients left out."""

from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from finetune.experts.fit import FEWEST
from finetune.experts.module import Experts
from finetune.features import FeatureCache
from finetune.heads.base import Head
from finetune.learning.base import release_of
from finetune.learning.hospital_sums import Frame, HospitalSums, SumSettings, keeps_sums
from finetune.learning.sum_fit import fit_sums
from finetune.patients import target_columns
from finetune.reliability.fit import Patients, Settings, fit_reliability
from finetune.reliability.module import Reliability, blocks_of
from foundation.command import plain
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.tensors import load_weights


def feature_cache(cfg: DictConfig, encoder: MultimodalEncoder, patients: PatientDataset) -> FeatureCache:
    """Where the config keeps the features of some patients' cohort."""
    folder = None if cfg.embeddings is None else Path(cfg.embeddings)
    return FeatureCache(folder, encoder, patients.cohort, patients.drop_inputs)


def fit_exactly(
    features: FeatureCache,
    head: Head,
    train: PatientDataset,
    validation: PatientDataset,
    settings: Settings | None = None,
) -> tuple[dict[str, float], Reliability | None]:
    """Fits the head's experts on training and validation patients together.

    Penalties, weights and calibration come from scores by fits that have not seen a patient's hospital, so none of the
    patients need be set aside for them.

    Args:
        features: of the cohort.
        head: of experts.
        train: patients.
        validation: patients.
        settings: of what says how far an answer can be relied on; nothing does if None.

    Returns:
        Metrics of those scores, and what was asked for.

    Raises:
        UserError: see `finetune.experts.fit`.
    """
    patients = [*train.patients, *validation.patients]
    columns = target_columns(train.cohort, patients, head)
    hospitals = train.cohort.patients.loc[patients, "hospital"].tolist()
    values = features.of(patients, train.modalities)
    left_out = head.fit_experts(values, columns, hospitals)
    scores = head.scores_of(left_out.scores())
    known = ~scores.isnan().any(dim=1)
    estimates = head.estimate(scores[known]).numpy().astype(np.float64)
    judged = [values[known.numpy()] for values in columns.values()]
    metrics = {
        f"left_out/{name}": metric.value(*judged, estimates)
        for name, metric in head.metrics().items()
        if metric.defined(*judged)
    }
    if settings is None:
        return metrics, None
    sizes = {name: features.encoder.feature_sizes([name]) for name in train.modalities}

    def of_subset(names: list[str]) -> Tensor:
        shown = head.scores_of(left_out.scores([block for name in names for block in sizes[name]]))
        has = train.cohort.patients.loc[patients, names].astype(bool).all(axis=1).to_numpy()
        return shown.masked_fill(~torch.from_numpy(has)[:, None], torch.nan)

    targets = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    everybody = np.ones(len(patients), dtype=bool)
    behind = Patients(values, hospitals, everybody, targets, of_subset)
    return metrics, fit_reliability(head.regions(), train.modalities, blocks_of(sizes), behind, settings)


def fit_by_sums(
    cfg: DictConfig, features: FeatureCache, head: Head, train: PatientDataset, validation: PatientDataset
) -> HospitalSums:
    """Fits the head's experts from sums by hospital: those that the release in `pretrained` kept, and new patients'.

    Calibration is by the patients at hand, and stays the release's where there are none.

    Raises:
        UserError: if sums would be of too few, or the release's are of other features.
    """
    assert isinstance(head.score, Experts)
    settings = SumSettings.read(plain(cfg.sums))
    patients, release = [*train.patients, *validation.patients], Path(cfg.pretrained)
    columns = target_columns(train.cohort, patients, head)
    hospitals = train.cohort.patients.loc[patients, "hospital"].tolist()
    responses = head.responses(columns)
    blocks = head.score.split(features.of(patients, train.modalities)) if patients else {}
    if keeps_sums(release):
        release_of(release, head, train.modalities, train.drop_inputs)
        load_weights(head, release / "head.safetensors")
        sums = HospitalSums.read(release).without(settings.forget)
    elif patients:
        sums = HospitalSums(Frame.of(blocks, responses), {}, {})
    else:
        raise UserError("data: nobody to learn from")
    if patients:
        sums = sums.adding(blocks, responses, hospitals, settings.fewest)
    for output, committee in enumerate(fit_sums(sums)):
        head.score.take(committee, output)
    head.eval()
    if len(patients) >= FEWEST:
        targets = {name: torch.from_numpy(column).float() for name, column in columns.items()}
        scores = head(torch.from_numpy(np.concatenate(list(blocks.values()), axis=1)).float())
        head.calibrate(scores.detach(), targets, (scores[:0], {name: column[:0] for name, column in targets.items()}))
    return sums
