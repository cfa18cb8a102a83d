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
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from finetune.experts.ridge import hospital_folds
from finetune.heads.regions import Regions, Targets
from finetune.reliability.module import Reliability
from finetune.reliability.novelty import FEWEST
from finetune.reliability.quantiles import conformal_rank, counts_at_most, order_statistics
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
    scores = (patients.scores(names) for names in subsets_of(module.modalities))
    cells = [cell for some in scores for cell in threshold_cells(regions, some, patients.targets)]
    known = np.array([(~np.isnan(values)).sum() for values in cells])
    shape = (len(codes), len(cells) // len(codes))
    found = order_statistics(
        lambda edges: counts_at_most(cells, edges.reshape(len(edges), -1)).reshape(edges.shape),
        conformal_rank(known, module.coverage).reshape(shape),
    )
    module.thresholds[codes] = torch.from_numpy(thresholds_of(regions, found))


def threshold_cells(
    regions: Regions, scores: Float[Tensor, "patients outputs"], targets: Targets
) -> list[NDArray[np.float32]]:
    """Nonconformities of which each has a quantile of its own: of each alternative, and of each group of them.

    Args:
        regions: of the head.
        scores: from a subset of modalities, NaN for who lacks one of them.
        targets: of the same patients.
    """
    values = regions.nonconformity(scores, targets)
    known = values.masked_fill(scores.isnan().any(dim=1, keepdim=True), torch.nan).float().numpy()
    return [*known.T, *(known[:, group].reshape(-1) for group in regions.groups)]


def thresholds_of(regions: Regions, quantiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """By alternative, `[subsets, alternatives]`, from quantiles of `threshold_cells`, `[subsets, cells]`.

    Where too few patients tell of an alternative, it is that of its group; infinite where too few tell of that, too.
    """
    by_class = quantiles[:, : regions.alternatives].copy()
    for place, group in enumerate(regions.groups, start=regions.alternatives):
        by_class[:, group] = np.where(np.isfinite(by_class[:, group]), by_class[:, group], quantiles[:, [place]])
    return by_class


def _fit_novelty(module: Reliability, patients: Patients) -> None:
    folds = hospital_folds(patients.hospitals)
    scores = {name: [np.full(len(patients.features), -np.inf)] for name in module.modalities}
    for (name, _, _), place, block in zip(module.blocks, module.places(), module.novelty, strict=True):
        values = patients.features[:, place]
        if (~np.isnan(values)).any(axis=1).sum() >= FEWEST:
            left_out = block.fit(values, patients.unseen, folds).numpy()  # type: ignore[operator]
            scores[name].append(np.nan_to_num(left_out, nan=-np.inf))
    largest = [np.max(np.stack(parts), axis=0) for parts in scores.values()]
    known = [np.sort(column[np.isfinite(column)]) for column in largest]
    counts = np.array([len(column) for column in known])
    ranks = limit_ranks(counts, module.flagged)
    found = np.array([column[rank - 1] if len(column) else 0.0 for column, rank in zip(known, ranks, strict=True)])
    module.limits.copy_(torch.from_numpy(limits_of(found, counts, module.flagged)))


def limit_ranks(counts: NDArray[np.int64], flagged: float) -> NDArray[np.int64]:
    """Ranks, by modality, of the scores that limits are made of: the largest where fewer patients tell than it takes.

    Args:
        counts: patients whose scores are known.
        flagged: share of a further patient's chance over all modalities.
    """
    return np.clip(conformal_rank(counts, _level(counts, flagged)), 1, np.maximum(counts, 1))


def limits_of(found: NDArray[np.float64], counts: NDArray[np.int64], flagged: float) -> NDArray[np.float64]:
    """The scores that a further patient exceeds with a chance of `flagged` over all modalities, by modality.

    0 where too few patients tell. Where there are fewer than it takes, the largest score is stretched as if the tail
    were exponential.

    Args:
        found: scores of `limit_ranks`.
        counts: patients whose scores are known.
        flagged: see `Settings`.
    """
    level = _level(counts, flagged)
    short = conformal_rank(counts, level) > counts
    stretched = found * np.where(short, np.log(1 / (1 - level)) / np.log(counts + 1.0 + (counts == 0)), 1.0)
    return np.where(counts < FEWEST, 0.0, stretched)


def _level(counts: NDArray[np.int64], flagged: float) -> float:
    return 1 - flagged / max(1, int((counts >= FEWEST).sum()))


def subsets_of(modalities: Sequence[str]) -> list[list[str]]:
    """The names behind each of `looked_at`."""
    codes = looked_at(len(modalities))
    return [[name for bit, name in enumerate(modalities) if code >> bit & 1] for code in codes]


def looked_at(count: int) -> list[int]:
    """Subsets of modalities to look at, a bit each."""
    everything = 2**count - 1
    if count <= _ALL_SUBSETS:
        return list(range(1, everything + 1))
    alone = [1 << bit for bit in range(count)]
    return list(dict.fromkeys(itertools.chain([everything], alone, (everything - bit for bit in alone))))
