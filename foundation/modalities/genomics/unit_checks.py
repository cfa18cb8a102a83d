"""Expression of several hospitals that differs by the base of a logarithm."""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from foundation.data.problems import Problems
from foundation.data.site import Site
from foundation.data.units import base_of

_CHANNEL = "expression"
_RATIOS = {
    math.log(2): "natural logarithms where the other's are binary",
    math.log10(2): "decimal logarithms where the other's are binary",
    math.log10(math.e): "decimal logarithms where the other's are natural",
}
_NEAR = 0.03  # of the ratio
_FEWEST = 5  # genes expressed at both hospitals
_EXPRESSED = 0.5


def check_bases(sites: list[Site], unit: str, problems: Problems) -> None:
    """A warning where the medians of two hospitals' genes stand in the ratio of two logarithms' bases.

    Args:
        sites: as read, expression in the cohort's unit.
        unit: the cohort's.
        problems: takes the findings.
    """
    if base_of(unit) is None:
        return
    medians = {site.name: site.tables[_CHANNEL].median() for site in sites if _CHANNEL in site.tables}
    files = {site.name: site.files[_CHANNEL] for site in sites if _CHANNEL in site.tables}
    for one, other in combinations(medians, 2):
        ratio = _ratio(medians[one], medians[other])
        low, high = (one, other) if ratio < 1 else (other, one)
        ratio = min(ratio, 1 / ratio)
        for expected, meaning in _RATIOS.items():
            if abs(ratio / expected - 1) < _NEAR:
                finding = f"values of {low} are {ratio:.3f} of those of {high}, as if they were {meaning}"
                advice = f"check how the values of {low} were made, and declare their unit"
                problems.warn(files[low], finding, advice, field="unit")


def _ratio(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """The median ratio over genes expressed at both; 1 where they are few, or where genes disagree."""
    both = pd.DataFrame({"one": one, "other": other}).dropna()
    both = both[(both > _EXPRESSED).all(axis=1)]
    if len(both) < _FEWEST:
        return 1.0
    ratios = np.log(both["one"] / both["other"])
    spread = float(ratios.quantile(0.75) - ratios.quantile(0.25))
    return float(np.exp(ratios.median())) if spread < 0.5 else 1.0
