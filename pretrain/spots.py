"""Expression of spots from their tiles, held against what was measured, on patients outside training."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from foundation.data.dataset import Collate, PatientDataset
from foundation.files import write_text
from foundation.modalities.pathology.storage import SPOTS
from foundation.objectives.expression_from_images import ExpressionFromImages
from pretrain.module import PretrainModule

FILE = "spots.csv"
_FEWEST = 10  # spots of a patient, fewer of which tell nothing of a correlation


def spot_correlation(module: PretrainModule, dataset: PatientDataset) -> pd.DataFrame:
    """Pearson's correlation of predicted and measured expression over the spots of a patient, mean over patients.

    Args:
        module: trained, with the objective `ExpressionFromImages`.
        dataset: patients outside training; of those without spots nothing is read.

    Returns:
        A row a gene: `gene`, `correlation`, `patients` and `spots` behind it; empty where nobody has spots.
    """
    objective = next((one for one in module.objectives.values() if isinstance(one, ExpressionFromImages)), None)
    table = dataset.cohort.patients
    if objective is None or SPOTS not in table:
        return pd.DataFrame(columns=["gene", "correlation", "patients", "spots"])
    by_patient, spots = [], []
    collate = Collate(module.encoder, train=False, seed=0)
    for index, patient in enumerate(dataset.patients):
        if table.at[patient, SPOTS] >= 0:
            predicted, measured = _both(module, objective, collate, dataset, index)
            by_patient.append(_correlations(predicted, measured))
            spots.append((~np.isnan(measured)).sum(axis=0) * ~np.isnan(by_patient[-1]))
    each = np.array(by_patient).reshape(len(by_patient), -1)
    genes = dataset.cohort.dictionary.genes if by_patient else []
    known = (~np.isnan(each)).sum(axis=0)
    mean = np.nansum(each, axis=0) / np.where(known > 0, known, np.nan)
    columns = {"gene": genes, "correlation": mean, "patients": known, "spots": np.sum(spots, axis=0)}
    return pd.DataFrame(columns) if genes else pd.DataFrame(columns=list(columns))


@torch.no_grad()
def _both(
    module: PretrainModule, objective: ExpressionFromImages, collate: Collate, dataset: PatientDataset, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted and measured expression of a patient's spots, `[spots, genes]` each."""
    module.eval()
    with module.encoder.looking_at_all():
        batch = collate([dataset[index]])
    like = next(module.encoder.parameters())
    batch = batch.to(like.device).floating(like.dtype)
    output = module.encoder(batch)
    values, mask = output.tokens[objective.source]
    predicted = objective.predict(module.encoder, values[0][mask[0]])
    measured = batch.inputs[objective.source]["spots"][0][mask[0]]
    return predicted.double().cpu().numpy(), measured.double().cpu().numpy()


def _correlations(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """By gene; NaN where too few spots were measured, or one of the two is constant."""
    known = ~np.isnan(measured)
    count = known.sum(axis=0).clip(min=1)
    left, right = (np.where(known, values, 0.0) for values in (predicted, measured))
    left, right = (np.where(known, values - values.sum(axis=0) / count, 0.0) for values in (left, right))
    spread = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    enough = (known.sum(axis=0) >= _FEWEST) & (spread > 0)
    return np.where(enough, (left * right).sum(axis=0) / np.where(enough, spread, 1.0), np.nan)


def write_spots(module: PretrainModule, dataset: PatientDataset, output: Path) -> dict[str, float]:
    """Writes `spots.csv` into a run's folder.

    Returns:
        `genes`, `patients` and the `median_correlation` over genes; empty where nobody has spots.
    """
    table = spot_correlation(module, dataset).dropna()
    if table.empty:
        return {}
    write_text(output / FILE, table.sort_values("correlation", ascending=False).to_csv(index=False))
    return {
        "genes": float(len(table)),
        "patients": float(table["patients"].max()),
        "median_correlation": float(table["correlation"].median()),
    }
