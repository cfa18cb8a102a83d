"""Epsilon as this project counts it, beside independent numeric compositions, for constant, rising and mixed noise.

`python scripts/bench/epsilon.py` composes releases of the Gaussian mechanism, each at its own noise, by the project's
accountant (a closed form), by opacus' PRV accountant (numeric convolution, Gopi, Lee and Wutschitz 2021) and, where
`dp-accounting` is installed beside (`pip install dp-accounting`; nothing here depends on it), by Google's privacy loss
distributions. The largest difference from either is printed last; the bar is 1 %.
"""

import argparse
import importlib.util
import itertools
import warnings

import foundation  # noqa: F401  # isort: skip
from opacus.accountants import PRVAccountant

from foundation.federation.privacy.accountant import Accountant

BAR = 0.01
SCHEDULES = {
    "constant, one release": [1.0],
    "constant": [1.0] * 10,
    "constant, much noise": [8.0] * 60,
    "rising": [1.0 + 0.25 * number for number in range(16)],
    "falling": [5.0 - 0.25 * number for number in range(16)],
    "mixed": [0.8, 4.0, 1.5, 10.0, 2.0, 0.9, 6.0, 3.0],
    "one weak among strong": [0.7, *[12.0] * 30],
}
DELTAS = (1e-5, 1e-6)


def ours(schedule: list[float], delta: float) -> float:
    counted = Accountant(delta)
    for noise in schedule:
        counted.compose(noise)
    return counted.epsilon()


def by_opacus(schedule: list[float], delta: float) -> float:
    counted = PRVAccountant()
    counted.history = [(noise, 1.0, len(list(same))) for noise, same in itertools.groupby(schedule)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of log(0): nothing is sampled here
        return float(counted.get_epsilon(delta, eps_error=0.002, delta_error=delta / 1000))


def by_google(schedule: list[float], delta: float) -> float:
    from dp_accounting.pld import privacy_loss_distribution

    whole = None
    for noise in schedule:
        one = privacy_loss_distribution.from_gaussian_mechanism(noise, value_discretization_interval=1e-4)
        whole = one if whole is None else whole.compose(one)
    assert whole is not None
    return float(whole.get_epsilon_for_delta(delta))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    oracles = {"opacus PRV": by_opacus}
    if importlib.util.find_spec("dp_accounting"):
        oracles["Google PLD"] = by_google
    print(f"{'noise':24}{'delta':>8}{'epsilon':>12}" + "".join(f"{name:>14}{'apart':>10}" for name in oracles))
    worst = 0.0
    for name, schedule in SCHEDULES.items():
        for delta in DELTAS:
            epsilon = ours(schedule, delta)
            line = f"{name:24}{delta:>8g}{epsilon:>12.6f}"
            for oracle in oracles.values():
                other = oracle(schedule, delta)
                apart = abs(epsilon / other - 1)
                worst = max(worst, apart)
                line += f"{other:>14.6f}{apart:>10.2e}"
            print(line, flush=True)
    print(f"largest difference {worst:.2e} ({', '.join(oracles)}; bar {BAR:g}, {'met' if worst <= BAR else 'MISSED'})")


if __name__ == "__main__":
    main()
