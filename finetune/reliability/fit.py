"""Fitting of thresholds and limits, on patients whom the model has not seen.

Of a head trained by steps these are the validation patients. Experts are fitted on validation patients, too, so theirs
are all of them, each by fits that have not seen the patient's hospital; how patients of a hospital not learnt from
spread is looked at in the same way.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.experts.ridge import hospital_folds
from finetune.heads.regions import Regions
from finetune.reliability.module import Reliability
from finetune.reliability.novelty import FEWEST
from finetune.reliability.quantiles import conformal_rank, order_statistics
from foundation.errors import UserError

_ALL_SUBSETS = 6  # modalities, of which every subset is looked at; of more, all of them, each alone, and all but each


@dataclass(frozen=True)
class Settings:
    """The config's `reliability`.

    Args:
        coverage: chance with which a region holds the truth.
        flagged: at most this share of patients like those learnt from is out of distribution.

    Raises:
        UserError: if one of them is no share.
    """

    coverage: float = 0.9
    flagged: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < 1:
                raise UserError(f"reliability.{name}: found {value}; give a share between 0 and 1")


@dataclass(frozen=True)
class Patients:
    """Patients on whom it is fitted.

    Attributes:
        features: plain features, `[patients, features]`, NaN where there are none: of all that the model learnt from.
        hospitals: of the patients.
        unseen: whose scores are of fits that have not seen them, `[patients]`.
        targets: of those unseen, `[unseen]` each.
        scores: of those unseen, from some modalities alone: `[unseen, outputs]`, NaN for who lacks one of them.
    """

    features: NDArray[np.float64]
    hospitals: Sequence[str]
    unseen: NDArray[np.bool_]
    targets: dict[str, Tensor]
    scores: Callable[[list[str]], Tensor]


@torch.no_grad()
def fit_reliability(
    regions: Regions | None, modalities: Sequence[str], blocks: Any, patients: Patients, settings: Settings
) -> Reliability:
    """Thresholds by subset of modalities and class, and limits of novelty by modality."""
    alternatives = 0 if regions is None else regions.alternatives
    module = Reliability(modalities, blocks, alternatives, settings.coverage, settings.flagged)
    if regions is not None:
        _fit_thresholds(module, regions, patients)
    _fit_novelty(module, patients)
    return module.eval()


def _fit_thresholds(module: Reliability, regions: Regions, patients: Patients) -> None:
    codes = looked_at(len(module.modalities))
    names = [[name for bit, name in enumerate(module.modalities) if code >> bit & 1] for code in codes]
    rows = np.stack([_nonconformity(regions, patients, some) for some in names])
    by_class = _thresholds(rows, module.coverage)
    for group in regions.groups:
        pooled = _thresholds(rows[:, :, group].reshape(len(codes), -1, 1), module.coverage)
        by_class[:, group] = np.where(np.isfinite(by_class[:, group]), by_class[:, group], pooled)
    module.thresholds[codes] = torch.from_numpy(by_class)


def _nonconformity(regions: Regions, patients: Patients, names: list[str]) -> NDArray[np.float32]:
    """`[unseen, alternatives]`; NaN for who lacks one of the modalities, too."""
    scores = patients.scores(names)
    values = regions.nonconformity(scores, patients.targets)
    return values.masked_fill(scores.isnan().any(dim=1, keepdim=True), torch.nan).float().numpy()


def _thresholds(values: NDArray[np.float32], coverage: float) -> NDArray[np.float32]:
    """By subset and alternative, of `[subsets, patients, alternatives]`; infinite where too few patients tell."""
    ranks = conformal_rank((~np.isnan(values)).sum(axis=1), coverage)
    return order_statistics(lambda edges: (values <= edges[:, None]).sum(axis=1), ranks)


def _fit_novelty(module: Reliability, patients: Patients) -> None:
    folds = hospital_folds(patients.hospitals)
    scores = {name: [np.full(len(patients.features), -np.inf)] for name in module.modalities}
    for (name, _, _), place, block in zip(module.blocks, module.places(), module.novelty, strict=True):
        values = patients.features[:, place]
        if (~np.isnan(values)).any(axis=1).sum() >= FEWEST:
            left_out = block.fit(values, patients.unseen, folds).numpy()  # type: ignore[operator]
            scores[name].append(np.nan_to_num(left_out, nan=-np.inf))
    largest = [np.max(np.stack(parts), axis=0) for parts in scores.values()]
    known = [column[np.isfinite(column)] for column in largest]
    level = 1 - module.flagged / max(1, sum(len(column) >= FEWEST for column in known))
    limits = [_limit(column, level) for column in known]
    module.limits.copy_(torch.tensor(limits))


def _limit(scores: NDArray[np.float64], level: float) -> float:
    """The score that a further patient exceeds with a chance of at most 1 - level; 0 where too few patients tell.

    Where there are fewer patients than that takes, the largest score is stretched as if the tail were exponential.
    """
    count = len(scores)
    if count < FEWEST:
        return 0.0
    rank = int(conformal_rank(np.array(count), level))
    if rank <= count:
        return float(np.sort(scores)[rank - 1])
    return float(scores.max() * np.log(1 / (1 - level)) / np.log(count + 1))


def looked_at(count: int) -> list[int]:
    """Subsets of modalities to look at, a bit each."""
    everything = 2**count - 1
    if count <= _ALL_SUBSETS:
        return list(range(1, everything + 1))
    alone = [1 << bit for bit in range(count)]
    return list(dict.fromkeys(itertools.chain([everything], alone, (everything - bit for bit in alone))))
