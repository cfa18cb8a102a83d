"""How far answers could be relied on, of patients whose truth is known: columns that statistics count."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.heads.regions import Regions
from finetune.reliability.module import Reading, Reliability

Column = NDArray[np.float64]
ABSTAINED = 4  # column of whether a model abstains


@torch.no_grad()
def answer_columns(
    reliability: Reliability, regions: Regions | None, reading: Reading, targets: Mapping[str, Column]
) -> Column:
    """By patient, `[patients, 7]`: what `foundation.statistics.answers` counts.

    Truths known and inside their region, its size, flagged, abstained, loss, confidence. Where a head has no confidence
    of its own, the less a patient is like those learnt from the lower it is.
    """
    count = len(reading.scores)
    judged = reliability.judge(reading, regions)
    scores = reliability.novelty_of(reading.features, reading.present)
    flagged = (scores > 1).any(dim=1)
    unlike = scores.nan_to_num(nan=0.0).max(dim=1).values
    confidence: Tensor | None = None
    none = torch.zeros(count)
    truths, inside, size, loss = none, none, none + torch.nan, none + torch.nan
    if regions is not None:
        columns = {name: torch.from_numpy(column).float() for name, column in targets.items()}
        values = regions.nonconformity(reading.scores, columns)
        truths = (~values.isnan()).sum(dim=1)
        inside = (values <= reliability.thresholds_of(reading.present)).sum(dim=1)
        size = torch.tensor([regions.size(row["region"]) for row in judged], dtype=torch.float)
        loss, confidence = regions.loss(reading.scores, columns), regions.confidence(reading.scores)
    confidence = 1 / (1 + unlike) if confidence is None else confidence
    abstained = torch.tensor([float(row["abstain"]) for row in judged])
    table = torch.stack([column.double() for column in (truths, inside, size, flagged, abstained, loss, confidence)])
    return np.asarray(table.T.numpy())
