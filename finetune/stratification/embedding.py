"""What a task model's encoder makes of patients, as points that clusters can be made of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from finetune.features import FeatureCache
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.run_record import read_run
from foundation.statistics.table import Floats

_COMPONENTS = 16
_AT_ONCE = 64


def embeddings(run: Path, cohort: Cohort, fixed: Sequence[str], judged: Sequence[str]) -> tuple[Floats, Floats]:
    """Of patients who fix the axes, and of others: `[patients, width]` each.

    A head on the embedding gives the embedding itself. Experts read features instead: each modality's are standardised,
    weighed alike whatever their number, what a patient lacks at the mean, and reduced to components of those who fix
    the axes.
    """
    model = TaskModel.load(run)
    modalities = list(model.task["modalities"])
    if not model.head.reads_features:
        return tuple(_fused(model, cohort, patients, modalities) for patients in (fixed, judged))  # type: ignore[return-value]
    kept = read_run(run)["config"].get("embeddings")
    cache = FeatureCache(kept and Path(kept), model.encoder, cohort, model.task["drop_inputs"])
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    for name in modalities:
        mine, theirs = (cache.of(patients, [name]) for patients in (fixed, judged))
        known = np.isfinite(mine).any(axis=0)
        mean, spread = np.nanmean(mine[:, known], axis=0), np.nanstd(mine[:, known], axis=0)
        scale = np.where(spread > 0, spread, 1.0) * np.sqrt(max(1, int(known.sum())))
        for part, values in zip(parts, (mine, theirs), strict=True):
            part.append(np.nan_to_num((values[:, known] - mean) / scale))
    first, second = (np.concatenate(part, axis=1) for part in parts)
    axes = PCA(min(_COMPONENTS, *first.shape), svd_solver="full").fit(first)
    return np.asarray(axes.transform(first)), np.asarray(axes.transform(second))


@torch.no_grad()
def _fused(model: TaskModel, cohort: Cohort, patients: Sequence[str], modalities: list[str]) -> Floats:
    dataset = PatientDataset(cohort, patients, modalities, drop_inputs=model.task["drop_inputs"])
    if len(dataset) < len(patients):
        few = len(patients) - len(dataset)
        raise UserError(f"strata: {few} patients have nothing that the model looks at; evaluate again")
    samples = [dataset[index]["sample"] for index in range(len(dataset))]
    batches = [model.encoder.encode_samples(samples[at : at + _AT_ONCE]) for at in range(0, len(samples), _AT_ONCE)]
    return np.concatenate([model.encoder(batch).fused.double().numpy() for batch in batches])
