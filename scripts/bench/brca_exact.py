"""Cox regression across the regions of Fed-TCGA-BRCA that equals pooled regression: a row of `brca.py`.

Covariates are standardised by pooled sums, then regions answer two exchanges a Newton step: sums over risk sets, and
one matrix each. Ties by Efron, times in days as they are. lifelines fits the same patients in one place, with the same
penalty, which is set once and not chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from numpy.typing import NDArray

from finetune.federated.cox import RISK_INFORMATION, PooledCox, risk_information, risk_moments
from finetune.federated.steady import Steady
from foundation.federation.sums import Sums
from foundation.statistics.grid import Grid

PENALTY = 0.1  # lifelines' default is none, with which one-hot columns have no single optimum
BAR = 1e-6
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A region's patients: features (n, p), event and days (n,)."""

    features: Numbers
    event: Numbers
    days: Numbers


def pooled_cox(regions: Sequence[Region]) -> Numbers:
    """Coefficients (p,) by lifelines, in one place."""
    columns = [f"x{place}" for place in range(regions[0].features.shape[1])]
    table = pd.DataFrame(np.concatenate([region.features for region in regions]), columns=columns)
    event, days = (np.concatenate([getattr(region, name) for region in regions]) for name in ("event", "days"))
    model = CoxPHFitter(penalizer=PENALTY, l1_ratio=0.0)
    model.fit(table.assign(event=event, days=days), "days", "event", fit_options={"precision": 1e-14})
    return np.asarray(model.params_[columns], dtype=np.float64)


def federated_cox(regions: Sequence[Region]) -> Numbers:
    """Coefficients (p,) from sums over the regions."""
    count = sum(len(region.event) for region in regions)
    mean = sum(region.features.sum(axis=0) for region in regions) / count
    square = sum(((region.features - mean) ** 2).sum(axis=0) for region in regions)
    spread = np.sqrt(square / (count - 1))
    spread[spread == 0] = 1.0
    last = max(float(region.days.max()) for region in regions)
    times = Grid(np.arange(0, last + 1), "up")

    def ask(
        name: str,
        weights: Mapping[str, NDArray[np.generic]],
        shapes: Mapping[str, tuple[int, ...]],
        question: Mapping[str, Numbers] | None = None,
        sites: Sequence[str] | None = None,
    ) -> Sums:
        assert question is not None
        total = {key: np.zeros(shape) for key, shape in shapes.items()}
        for region in regions:
            at = (region.event, region.days, (region.features - mean) / spread, times, question["beta"])
            if name == RISK_INFORMATION:
                answer = {"information": risk_information(*at, question["weight"], question["tied"])}
            else:
                answer = risk_moments(*at)
            for key, value in answer.items():
                total[key] += value
        return Sums(total, [str(number) for number in range(len(regions))])

    steady = Steady(ask)  # type: ignore[arg-type]
    cox = PooledCox(steady, {}, times, len(mean), PENALTY * count, stratified=False, ties="efron")
    return np.asarray(cox.fit(np.zeros(len(mean)), 50) / spread)
