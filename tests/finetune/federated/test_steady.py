"""Searches of several exchanges from which a hospital leaves: what comes out is of those who stayed alone."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from finetune.federated.calibration import (
    BASELINE,
    RISKS,
    TEMPERATURE,
    fit_baseline,
    fit_temperature,
    quantiles,
    temperature_sums,
)
from finetune.federated.steady import Steady, of_steady_sites
from finetune.reliability.quantiles import counts_at_most
from foundation.errors import UserError
from foundation.statistics.cox import RiskSums
from foundation.statistics.grid import Grid
from tests.finetune.federated.hospitals import Answer, Hospitals

SIZES = {"north": 60, "east": 45, "south": 30}
GONE = "east"
GRID = Grid(np.arange(0.0, 40.0), "up")
SEARCHES: dict[str, Callable[[Steady], Mapping[str, NDArray[Any]]]] = {
    "quantiles": lambda ask: {"cuts": quantiles(ask, {}, 3)},
    "temperature": lambda ask: fit_temperature(ask, {}, 2, several=False),
    "labels": lambda ask: fit_temperature(ask, {}, 2, several=True),
    "baseline": lambda ask: fit_baseline(ask, {}, GRID, 5, 2),
}


def hospital(number: int, size: int, several: bool) -> Answer:
    """One whose scores lie apart from the others', so that its leaving shows."""
    rng = np.random.default_rng(number)
    scores = rng.normal(number, 1 + number, (size, 2))
    label = (rng.random(size) < 0.5).astype(float)
    labels = (rng.random((size, 2)) < 0.4).astype(float) if several else label
    event, time = (rng.random(size) < 0.7).astype(float), np.floor(rng.random(size) * 40)

    def answer(name: str, question: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if name == TEMPERATURE:
            return temperature_sums(scores, labels, question["theta"], several)
        if name == BASELINE:
            return RiskSums.from_patients(event, time, scores[:, 0], GRID).to_arrays()
        assert name == RISKS
        return {"patients": counts_at_most([scores[:, 0]], question["edges"][:, None].astype(np.float32))[:, 0]}

    return answer


def answers(several: bool) -> dict[str, Answer]:
    return {name: hospital(number, size, several) for number, (name, size) in enumerate(SIZES.items())}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("search", list(SEARCHES))
def test_search_that_a_hospital_leaves_is_that_of_those_who_stayed(search: str, number: int):
    fit, several = SEARCHES[search], search == "labels"
    whole = Hospitals(answers(several))
    everybody = of_steady_sites(whole, fit)
    assert len(whole.asked) > number
    stayed = of_steady_sites(Hospitals({n: a for n, a in answers(several).items() if n != GONE}), fit)
    found = of_steady_sites(Hospitals(answers(several), {number: GONE}), fit)
    assert any((found[name] != everybody[name]).any() for name in found)
    for name, value in stayed.items():
        np.testing.assert_array_equal(found[name], value)


def test_hospitals_that_leave_again_and_again_end_the_run_with_one_line():
    several = {f"site {number}": hospital(number, 20, False) for number in range(6)}
    leaving = Hospitals(several, {number: f"site {number}" for number in range(6)})
    with pytest.raises(UserError, match=r"^sums: sites left between two exchanges again and again"):
        of_steady_sites(leaving, SEARCHES["quantiles"])
