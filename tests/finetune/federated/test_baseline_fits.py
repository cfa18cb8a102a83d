"""Coefficients of baselines by sums over hospitals are those of everybody at one place, whatever the task predicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from finetune.experts.responses import Hazard, Label, Response, Value
from finetune.federated.baselines import BASELINES, RIDGE, baseline_sums, fit_baselines
from finetune.federated.steady import of_steady_sites
from foundation.errors import UserError
from foundation.federation.weights.types import Weights
from foundation.statistics.grid import Grid
from tests.finetune.federated.hospitals import Answer, Hospitals

SIZES = {"north": 70, "east": 40, "south": 25, "west": 12}  # nobody in the west has the last class, or an event
WIDTH = 4
TIMES = Grid(np.arange(0.0, 60.0), "up")
KINDS = ("label", "classes", "labels", "quantity", "hazard")


def everybody(kind: str) -> tuple[NDArray[np.float64], list[Response], NDArray[np.str_]]:
    """Design, with holes, outputs, and hospitals."""
    rng = np.random.default_rng(7)
    hospitals = np.repeat(list(SIZES), list(SIZES.values()))
    count = len(hospitals)
    design = rng.normal(size=(count, WIDTH)) + 0.3 * (hospitals == "north")[:, None]
    design[:, 0] = 1.0
    design[rng.random(count) < 0.1] = np.nan
    score = np.nan_to_num(design) @ np.array([0.2, 1.0, -0.5, 0.3]) + rng.normal(size=count)
    if kind == "quantity":
        return design, [Value(score)], hospitals
    if kind == "hazard":
        event = np.where(hospitals == "west", 0.0, (rng.random(count) < 0.6).astype(float))
        return design, [Hazard(event, np.floor(rng.exponential(15, count) * np.exp(-score / 2)).clip(0, 58))], hospitals
    if kind == "labels":
        labels = [(score > cut).astype(float) for cut in (-0.5, 0.4)]
        labels[1][rng.random(count) < 0.3] = np.nan
        return design, [Label(one) for one in labels], hospitals
    level = np.digitize(score, [0.0, 0.8]) if kind == "classes" else (score > 0).astype(int)
    level = np.where(hospitals == "west", np.minimum(level, level.max() - 1), level)
    places = range(3) if kind == "classes" else [1]
    return design, [Label((level == place).astype(float)) for place in places], hospitals


def hospital(design: NDArray[np.float64], outputs: list[Response], rows: NDArray[np.intp]) -> Answer:
    fits = {f"0.{place}": (design[rows], output.of(rows)) for place, output in enumerate(outputs)}

    def answer(name: str, question: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        assert name == BASELINES
        return baseline_sums(fits, question, TIMES)

    return answer


def fitted(ask: Hospitals, outputs: list[Response]) -> Weights:
    widths = {f"0.{place}": WIDTH for place in range(len(outputs))}
    hazards = isinstance(outputs[0], Hazard)
    return of_steady_sites(ask, lambda steady: fit_baselines(steady, {}, widths, hazards, TIMES))


def across(kind: str, sites: list[str], **more: Any) -> Weights:
    design, outputs, hospitals = everybody(kind)
    parts = {name: hospital(design, outputs, np.flatnonzero(hospitals == name)) for name in sites}
    return fitted(Hospitals(parts, **more), outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_of_hospitals_are_those_of_one_place(kind: str):
    design, outputs, _ = everybody(kind)
    whole = fitted(Hospitals({"all": hospital(design, outputs, np.arange(len(design)))}), outputs)
    found = across(kind, list(SIZES))
    assert found.keys() == whole.keys() and len(found) == len(outputs)
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["label", "classes", "labels", "quantity"])
def test_coefficients_are_those_of_a_library_or_of_normal_equations(kind: str):
    design, outputs, _ = everybody(kind)
    found = across(kind, list(SIZES))
    for place, output in enumerate(outputs):
        rows = np.flatnonzero(output.known & ~np.isnan(design).any(axis=1))
        known, target = design[rows], output.of(rows)
        if isinstance(target, Value):
            expected = np.linalg.solve(known.T @ known + RIDGE * np.eye(WIDTH), known.T @ target.values)
            np.testing.assert_allclose(found[f"0.{place}"], expected, rtol=0, atol=1e-12)
            continue
        assert isinstance(target, Label)
        plain = LogisticRegression(C=1 / RIDGE, fit_intercept=False, solver="newton-cholesky", tol=1e-13, max_iter=200)
        expected = plain.fit(known, target.values).coef_[0]
        np.testing.assert_allclose(found[f"0.{place}"], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_hospital_that_leaves_in_between_is_in_no_step(kind: str):
    stayed = across(kind, ["north", "south", "west"])
    left = across(kind, list(SIZES), leaving={1: "east"})
    for name, value in stayed.items():
        np.testing.assert_array_equal(left[name], value)


def test_other_coefficients_than_columns_are_refused():
    design, outputs, hospitals = everybody("labels")
    answer = hospital(design, outputs, np.flatnonzero(hospitals == "north"))
    with pytest.raises(UserError, match=r"^baselines: asked about other coefficients than '0\.1' has"):
        answer(BASELINES, {"beta.0.0": np.zeros(WIDTH), "beta.0.1": np.zeros(WIDTH + 1)})
