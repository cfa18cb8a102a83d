import numpy as np
import pytest
import torch

from finetune.experts.ridge import hospital_folds
from finetune.reliability.novelty import Novelty

SIZE, PATIENTS = 60, 240
RNG = np.random.default_rng(0)
LOADING = RNG.normal(size=(4, SIZE))


def drawn(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 5 + rng.normal(size=(count, 4)) @ LOADING + rng.normal(0, 0.5, (count, SIZE))


@pytest.fixture(scope="module")
def fitted() -> tuple[Novelty, np.ndarray]:
    values = drawn(PATIENTS, 1)
    values[:30] = np.nan
    values[40, :10] = np.nan
    module = Novelty(SIZE)
    hospitals = [f"h{index % 6}" for index in range(PATIENTS)]
    return module, module.fit(values, np.ones(PATIENTS, dtype=bool), hospital_folds(hospitals)).numpy()


def score(module: Novelty, values: np.ndarray) -> np.ndarray:
    return module(torch.from_numpy(values).float()).numpy()


def area(garbage: np.ndarray, real: np.ndarray) -> float:
    return float((garbage[:, None] > real[None]).mean())


def test_patients_left_out_spread_by_about_one_and_those_without_the_block_have_no_score(fitted):
    _, left_out = fitted
    assert np.isnan(left_out[:30]).all() and np.isfinite(left_out[30:]).all()
    assert 0.5 < np.median(left_out[30:]) < 1.5


@pytest.mark.parametrize(
    "garbage",
    [
        lambda rng, values: values * 10,
        lambda rng, values: values * 0,
        lambda rng, values: np.full_like(values, 5.0),  # at the very mean: nearer than any patient
        lambda rng, values: rng.normal(5, np.sqrt((LOADING**2).sum(axis=0) + 0.25), values.shape),  # each alone usual
        lambda rng, values: np.where(np.arange(SIZE) == 0, 500.0, values),
    ],
    ids=["scaled", "zero", "constant", "unrelated", "one value"],
)
def test_what_is_no_patient_scores_above_those_who_are(fitted, garbage):
    module, left_out = fitted
    values = garbage(np.random.default_rng(2), drawn(100, 3))
    assert area(score(module, values), left_out[30:]) > 0.99


def test_patients_of_another_draw_score_as_those_left_out(fitted):
    module, left_out = fitted
    assert 0.4 < area(score(module, drawn(200, 4)), left_out[30:]) < 0.6


def test_a_patient_scores_alike_alone_and_with_features_missing(fitted):
    module, _ = fitted
    values = drawn(50, 5)
    assert score(module, values[:1]) == pytest.approx(score(module, values)[:1], rel=1e-4)
    some = values.copy()
    some[:, ::10] = np.nan
    assert (np.abs(score(module, some) - score(module, values)) < 2).all()


@pytest.mark.parametrize("size", [3, 12, SIZE])
def test_who_is_known_by_one_usual_value_is_no_stranger_and_by_an_impossible_one_is(size: int):
    values = drawn(PATIENTS, 1)[:, :size]
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    module = Novelty(size)
    hospitals = [f"h{index % 6}" for index in range(PATIENTS)]
    left_out = module.fit(values, np.ones(PATIENTS, dtype=bool), hospital_folds(hospitals)).numpy()
    alone = np.full((41, size), np.nan)
    alone[:, 0] = np.nanmean(values[:, 0]) + np.linspace(-1, 1, 41) * np.nanstd(values[:, 0])
    assert (score(module, alone) < np.nanpercentile(left_out, 95)).all(), "at the very mean, too"
    alone[:, 0] = 500.0
    assert (score(module, alone) > np.nanmax(left_out)).all()


def test_nobody_is_unlike_where_too_few_tell_how_patients_spread():
    module = Novelty(SIZE)
    values = drawn(60, 1)
    judged = np.arange(60) < 5
    module.fit(values, judged, hospital_folds([f"h{index % 3}" for index in range(60)]))
    assert (score(module, drawn(20, 2) * 10) == 0).all()


def test_patients_of_another_hospital_are_not_too_near_where_the_known_ones_lie_far_apart():
    apart = np.random.default_rng(8).normal(size=(3, SIZE)) * 6
    values = np.concatenate([drawn(60, seed) + apart[seed] for seed in range(3)])
    module = Novelty(SIZE)
    folds = [np.arange(start, start + 60) for start in (0, 60, 120)]
    left_out = module.fit(values, np.ones(180, dtype=bool), folds).numpy()
    assert (module.middle > 2).any(), "to the others' axes, a hospital's patients are far"
    inside = drawn(60, 5) + apart[0]
    assert (score(module, inside) < 3).all(), "they were more than ten spreads too near"
    assert (score(module, inside * 10) > max(3, left_out.max())).all()
