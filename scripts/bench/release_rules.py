"""How often a release that is no worse is refused by chance, and one that is worse at a hospital is caught.

`python scripts/bench/release_rules.py` draws pairs of models on the same patients of several hospitals and counts how
many challengers lose at any hospital: each figure by its own 95 % interval, and all by joint ones, as
`serve.release.comparison` holds them. Challengers are equal everywhere, or worse at the first hospital.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from foundation.statistics.comparison import simultaneous
from serve.card.pairs import Pair, measures

_SIGNAL, _OWN = 1.6, 0.6  # of the label in the score, and spread of each model's own errors beside the shared ones


def pairs(rng: np.random.Generator, hospitals: int, patients: int, less: float) -> list[Pair]:
    """Measures of both models at each hospital; the challenger's signal is smaller by a share at the first."""
    found: list[Pair] = []
    for hospital in range(hospitals):
        label = rng.permutation(np.resize([0.0, 1.0], patients))
        shared, own = rng.normal(size=patients), rng.normal(size=(2, patients))
        signal = _SIGNAL * np.array([1.0, 1 - less * (hospital == 0)])[:, None]
        before, after = 1 / (1 + np.exp(-(signal * (label - 0.5) + 0.8 * shared + _OWN * own)))
        chances = {"probability_before": before, "probability_after": after}
        answers = {"prediction_before": before, "prediction_after": after}
        names = [f"{rng.integers(2**62)}" for _ in range(patients)]
        found += measures("positive", pd.DataFrame({"patient": names, "label": label, **chances, **answers}))
    return found


def refused(found: list[Pair]) -> tuple[bool, bool]:
    """Whether any hospital loses: by each figure's own interval, and by joint ones."""
    signs = [1 if pair.measure.startswith("AUROC") else -1 for pair in found]
    ends = [pair.difference.high if sign > 0 else pair.difference.low for sign, pair in zip(signs, found, strict=True)]
    alone = any(end is not None and sign * end < 0 for sign, end in zip(signs, ends, strict=True))
    joint = simultaneous([sign * pair.replicates for sign, pair in zip(signs, found, strict=True)])
    return alone, any(one is not None and one[1] < 0 for one in joint)


def main() -> None:
    """Counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=300, help="challengers of each kind")
    parser.add_argument("--hospitals", type=int, default=5)
    parser.add_argument("--patients", type=int, default=40, help="held-out ones of a hospital")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| signal lost at one hospital | refused, each figure by its own interval | refused, jointly |")
    print("| --- | --- | --- |")
    for less in (0.0, 0.5, 1.0, 1.5, 2.0):
        rng = np.random.default_rng([options.seed, int(10 * less)])
        drawn = (pairs(rng, options.hospitals, options.patients, less) for _ in range(options.simulations))
        shares = np.mean([refused(found) for found in drawn], axis=0)
        print(f"| {less:.0%} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
