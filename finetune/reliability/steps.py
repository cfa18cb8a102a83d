"""What a head trained by steps brings to its reliability: scores of validation patients from every subset they have."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from finetune.features import FeatureCache
from finetune.heads.base import Head
from finetune.patients import target_columns
from finetune.reliability.fit import Patients, Settings, fit_reliability
from finetune.reliability.module import Reliability, blocks_of
from foundation.batch import Batch
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder

Scores = Callable[[list[str]], Tensor]
_AT_ONCE = 16  # patients: each may have hundreds of images


def subset_scores(encoder: MultimodalEncoder, head: Head, validation: PatientDataset) -> Scores:
    """Raw scores of validation patients from some modalities alone, `[patients, outputs]`, NaN for who lacks one.

    Tokens are computed once, whatever subsets are asked for.
    """
    batches = _batches(encoder, [validation.sample(patient) for patient in validation.patients])
    with torch.no_grad():
        encoded = [(batch, encoder(batch).tokens) for batch in batches]

    @torch.no_grad()
    def of_subset(names: list[str]) -> Tensor:
        scores = []
        for batch, tokens in encoded:
            rows = {name: batch.rows(name) for name in names if name in tokens}
            shown = {name: tokens[name] for name in rows}
            fused = encoder.fusion(shown, rows, len(batch))
            has = torch.stack([batch.present[name] for name in names], dim=1).all(dim=1, keepdim=True)
            scores.append(head(fused).masked_fill(~has, torch.nan))
        return torch.cat(scores)

    return of_subset


def fit_after_steps(
    features: FeatureCache,
    head: Head,
    train: PatientDataset,
    validation: PatientDataset,
    scores: Scores,
    settings: Settings,
) -> Reliability:
    """Thresholds from the validation patients, whom training has not seen; how patients spread, from both parts.

    Args:
        features: by the head's encoder.
        head: trained and calibrated.
        train: patients.
        validation: patients.
        scores: of the validation patients, as answers are made of them; see `subset_scores`.
        settings: of the config.
    """
    patients = [*train.patients, *validation.patients]
    unseen = np.arange(len(patients)) >= len(train)
    columns = target_columns(train.cohort, validation.patients, head)
    behind = Patients(
        features.of(patients, train.modalities),
        train.cohort.patients.loc[patients, "hospital"].tolist(),
        unseen,
        {name: torch.from_numpy(column).float() for name, column in columns.items()},
        scores,
    )
    sizes = {name: features.encoder.feature_sizes([name]) for name in train.modalities}
    return fit_reliability(head.regions(), train.modalities, blocks_of(sizes), behind, settings)


def _batches(encoder: MultimodalEncoder, samples: Sequence[dict[str, object]]) -> list[Batch]:
    device = next(encoder.parameters()).device
    parts = [list(samples[start : start + _AT_ONCE]) for start in range(0, len(samples), _AT_ONCE)]
    precision = next(encoder.parameters()).dtype
    return [encoder.encode_samples(part).to(device).floating(precision) for part in parts]
