"""Outcomes among the inputs: by what a column is called, and by what it holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import is_outcome
from foundation.data.problems import Problem, Problems

NEAR = 0.98  # Spearman's rank correlation from which one column is as good as another's copy
ROUGH = 0.5
FEWEST = 20  # patients with both, fewer of whom may agree by chance


def check_outcomes(inputs: pd.DataFrame, outcomes: pd.DataFrame, path: Path | str) -> list[Problem]:
    """Columns that give an outcome away.

    A name is an error. A value is a warning: a column that is, or runs with or against, survival time, event or a label
    in all but a few patients (|Spearman's rho| >= 0.98 over at least 20), which for two-valued columns means that they
    agree or disagree almost everywhere. Text is compared by its categories, if there are two.

    Args:
        inputs: the record, indexed by patient.
        outcomes: labels, event and time, indexed by patient.
        path: where the inputs were read.
    """
    problems = Problems()
    for name in inputs.columns:
        if is_outcome(str(name)) or name in outcomes.columns:
            problems.error(path, "holds an outcome by its name", "leave it out of the record", field=str(name))
    ranked = {str(name): _ranks(outcomes[name].reindex(inputs.index)) for name in outcomes.columns}
    for name in inputs.columns:
        ranks = _ranks(inputs[name])
        for outcome, others in ranked.items():
            rho = _correlation(ranks, others)
            if abs(rho) >= NEAR:
                finding = f"almost a copy of {outcome} (rank correlation {rho:.2f})"
                problems.warn(
                    path, finding, "check that it is known before the outcome, or leave it out", field=str(name)
                )
    return problems.listed


def _ranks(cells: "pd.Series[Any]") -> NDArray[np.float64]:
    """Ranks; missing where there is no value, and for text of more than two categories, which has no order."""
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    if (numbers.isna() & cells.notna()).any():
        codes, words = pd.factorize(cells)
        numbers = pd.Series(codes).where((codes >= 0) & (len(words) == 2))
    return _rank(numbers.to_numpy(dtype=float))


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(values).rank().to_numpy(dtype=float))


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's rho over the patients who have both; 0 where too few do, or one of the two is constant."""
    both = ~np.isnan(left) & ~np.isnan(right)
    if both.sum() < FEWEST:
        return 0.0
    pair = np.stack([left[both], right[both]])
    if (pair.std(axis=1) == 0).any():
        return 0.0
    # Ranking anew those who have both is what takes time, and changes little where few are missing.
    rough = _pearson(pair)
    return rough if abs(rough) < ROUGH else _pearson(np.stack([_rank(one) for one in pair]))


def _pearson(pair: NDArray[np.float64]) -> float:
    return float(np.asarray(np.corrcoef(pair))[0, 1])
