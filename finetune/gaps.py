"""Gaps between groups of patients: the best-served level's figure less the worst-served one's, with its interval."""

from collections.abc import Mapping
from typing import Any

from finetune.figures import Figures
from foundation.statistics.comparison import paired_bootstrap


def gap(levels: Mapping[str, Figures], metric: str) -> dict[str, Any] | None:
    """Of those levels that have a figure; None where fewer than two have one.

    Which levels are best and worst is chosen by the same figures, so a gap lies above zero by chance alone, too.

    Args:
        levels: by name, figures with the replicates of one bootstrap; of its metric, more is better.
        metric: to compare.
    """
    values = {name: shown.figure(metric).value for name, shown in levels.items()}
    known = {name: value for name, value in values.items() if value is not None}
    if len(known) < 2:
        return None
    best, worst = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    first, second = levels[best], levels[worst]
    if best == worst:  # all alike
        worst = next(name for name in known if name != best)
        second = levels[worst]
    gained = paired_bootstrap(first.by_patient[metric], second.by_patient[metric], first.support.defined)
    n = first.measures[metric].n + second.measures[metric].n
    return {
        "best": best,
        "worst": worst,
        "n": n,
        metric: {"value": gained.value, "low": gained.low, "high": gained.high},
    }
