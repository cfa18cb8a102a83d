"""Sums by hospital: whatever the order in which hospitals come, what is fitted is what all at once give."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.experts.module import Experts
from finetune.experts.responses import Hazard, Label, Response, Value
from finetune.learning.hospital_sums import Frame, HospitalSums, SumSettings, keeps_sums
from finetune.learning.sum_fit import fit_sums
from foundation.arrays import read_arrays, write_arrays
from foundation.errors import UserError
from foundation.files import write_json

BLOCKS = {"image": 12, "genes": 60, "record": 3}
HOSPITALS = ("north", "south", "east", "west")
PATIENTS = 240


def patients(kind: str) -> tuple[dict[str, np.ndarray], list[Response], np.ndarray, list[str]]:
    """Blocks, responses, the truth behind them and hospitals; any block may be missing."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=PATIENTS)
    blocks = {}
    for name, size in BLOCKS.items():
        values = rng.normal(size=(PATIENTS, size))
        values[:, : min(size, 4)] += 0.7 * truth[:, None]
        values[rng.random(PATIENTS) < 0.25] = np.nan
        blocks[name] = values
    blocks["record"] = np.nan_to_num(blocks["record"])
    response: Response
    if kind == "label":
        response = Label((truth + 0.5 * rng.normal(size=PATIENTS) > 0.4).astype(float))
    elif kind == "value":
        response = Value(10 + truth)
    else:
        time = 900 * np.exp(-truth) * rng.exponential(size=PATIENTS)
        response = Hazard((time < 1500).astype(float), np.minimum(time, 1500) + 1)
    return blocks, [response], truth, [HOSPITALS[place % 4] for place in range(PATIENTS)]


def added(kind: str, order: tuple[str, ...]) -> HospitalSums:
    """Sums of hospitals that came in this order; the frame is of the north's."""
    blocks, responses, _, names = patients(kind)
    first = np.flatnonzero(np.asarray(names) == "north")
    sums = HospitalSums(Frame.of(some(blocks, first), [one.of(first) for one in responses]), {}, {})
    for hospital in order:
        rows = np.flatnonzero(np.asarray(names) == hospital)
        sums = sums.adding(some(blocks, rows), [one.of(rows) for one in responses], [hospital] * len(rows), 10)
    return sums


def some(blocks: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in blocks.items()}


def scores(sums: HospitalSums, kind: str, shown: tuple[str, ...] = tuple(BLOCKS)) -> np.ndarray:
    blocks, _, _, _ = patients(kind)
    experts = Experts(BLOCKS, 1)
    experts.take(fit_sums(sums)[0], 0)
    values = np.concatenate(
        [blocks[name] if name in shown else np.full_like(blocks[name], np.nan) for name in BLOCKS], 1
    )
    return experts.double()(torch.from_numpy(values)).numpy()[:, 0]


@pytest.mark.parametrize("kind", ["label", "value", "hazard"])
def test_hospitals_one_after_another_give_what_all_at_once_do(kind: str):
    blocks, responses, truth, names = patients(kind)
    at_once = added(kind, ("north",))
    rows = np.flatnonzero(np.asarray(names) != "north")
    at_once = at_once.adding(
        some(blocks, rows), [one.of(rows) for one in responses], np.asarray(names)[rows].tolist(), 10
    )
    expected = scores(at_once, kind)
    for order in itertools.islice(itertools.permutations(HOSPITALS), 0, 24, 7):
        np.testing.assert_allclose(scores(added(kind, order), kind), expected, rtol=1e-9, atol=1e-9)
    assert abs(np.corrcoef(expected, truth)[0, 1]) > 0.8
    assert abs(np.corrcoef(scores(at_once, kind, ("record",)), truth)[0, 1]) > 0.5


@settings(max_examples=10, deadline=None)
@given(st.permutations(HOSPITALS), st.sampled_from(["label", "hazard"]))
def test_a_hospital_that_leaves_was_never_there(order: list[str], kind: str):
    stays = [name for name in order if name != order[-1]]
    left = added(kind, tuple(order)).without([order[-1]])
    np.testing.assert_allclose(scores(left, kind), scores(added(kind, tuple(stays)), kind), rtol=1e-9, atol=1e-9)


def test_a_lone_hospital_chooses_its_penalty_by_its_halves():
    sums = added("label", ("north",))
    assert len(sums.parts["north"]) == 2 and sums.patients == {"north": 60}
    _, responses, _, _ = patients("label")
    label = responses[0].values
    score = scores(sums, "label")
    assert (score[label == 1][:, None] > score[label == 0][None]).mean() > 0.8


def test_a_label_is_told_as_least_squares_does_where_every_block_is_one():
    """One block, no penalty to speak of: the first step of Newton's is the regression of the label, times four."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(400, 3))
    label = (values[:, 0] + rng.normal(size=400) > 0).astype(float)
    hospitals = [HOSPITALS[place % 4] for place in range(400)]
    sums = HospitalSums(Frame.of({"only": values}, [Label(label)]), {}, {}).adding(
        {"only": values}, [Label(label)], hospitals, 10
    )
    experts = Experts({"only": 3}, 1)
    experts.take(fit_sums(sums)[0], 0)
    score = experts.double()(torch.from_numpy(values)).numpy()[:, 0]
    design = np.concatenate([values, np.ones((400, 1))], axis=1)
    expected = design @ np.linalg.lstsq(design, 4 * (label - 0.5), rcond=None)[0]
    assert np.corrcoef(score, expected)[0, 1] > 0.999
    assert score.mean() == pytest.approx(expected.mean(), abs=0.01)


def test_sums_are_read_as_they_were_written_and_hold_no_patient(tmp_path: Path):
    sums = added("hazard", HOSPITALS)
    sums.write(tmp_path)
    again = HospitalSums.read(tmp_path)
    assert keeps_sums(tmp_path) and not keeps_sums(tmp_path.parent)
    np.testing.assert_array_equal(scores(again, "hazard"), scores(sums, "hazard"))
    assert again.patients == dict.fromkeys(HOSPITALS, 60)
    (tmp_path / "sums.json").write_text('{"blocks": ["image"], "outputs": 1, "patients": {"far": 60}}')
    with pytest.raises(UserError, match=r"sums.safetensors: holds no part.0.pairs.far; train the release again"):
        HospitalSums.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"blocks": 3, "outputs": 1, "patients": {"north": 60}},
        {"blocks": [["image"]], "outputs": 1, "patients": {"north": 60}},
        {"blocks": list(BLOCKS), "outputs": "1", "patients": {"north": 60}},
        {"blocks": list(BLOCKS), "outputs": True, "patients": {"north": 60}},
        {"blocks": list(BLOCKS), "outputs": 1, "patients": ["north"]},
        {"blocks": list(BLOCKS), "outputs": 1, "patients": {"north": "many"}},
        {"blocks": list(BLOCKS), "outputs": 1, "patients": {"north": float("nan")}},
    ],
)
def test_damaged_names_of_sums_are_one_line(content: dict, tmp_path: Path):
    added("hazard", ("north",)).write(tmp_path)
    write_json(tmp_path / "sums.json", content, sort_keys=False)
    with pytest.raises(UserError, match=r"sums\.json: names no blocks, outputs and patients by hospital; train the"):
        HospitalSums.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("part.1.information.north", lambda value: np.full_like(value, np.nan)),
        ("part.0.gradient.north", lambda value: value[:, 1:]),
        ("axes.image.rotation", lambda value: value[1:]),
        ("axes.genes.scale", lambda value: np.full_like(value, np.nan)),
        ("start.0", lambda value: np.full_like(value, np.nan)),
    ],
)
def test_damaged_sums_are_one_line(name: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path):
    added("hazard", ("north",)).write(tmp_path)
    arrays = read_arrays(tmp_path / "sums.safetensors", "")
    write_arrays(tmp_path / "sums.safetensors", {**arrays, name: change(arrays[name])})
    with pytest.raises(
        UserError, match=r"sums\.safetensors: sums of other shapes than sums\.json names, or no numbers"
    ):
        HospitalSums.read(tmp_path)


def test_sums_of_few_are_not_kept_and_unknown_hospitals_not_forgotten():
    blocks, responses, _, _ = patients("label")
    few = np.arange(9)
    with pytest.raises(UserError, match=r"^sums.fewest: 9 patients of small, and a sum of fewer than 10 tells of each"):
        added("label", ("north",)).adding(some(blocks, few), [one.of(few) for one in responses], ["small"] * 9, 10)
    with pytest.raises(UserError, match=r"^sums.forget: no sums of 'far'; there are those of north$"):
        added("label", ("north",)).without(["far"])
    with pytest.raises(UserError, match=r"^sums.fewest: 9 patients of north"):  # two releases differ by their sums
        added("label", ("north",)).adding(some(blocks, few), [one.of(few) for one in responses], ["north"] * 9, 10)
    with pytest.raises(UserError, match=r"^sums.forgte: no such setting; there are forget, fewest$"):
        SumSettings.read({"forgte": []})
    with pytest.raises(UserError, match=r"^sums.fewest: found 0"):
        SumSettings.read({"fewest": 0})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"forget": "north"}, "sums.forget: found 'north'; give a list of hospitals"),
        ({"forget": None}, "sums.forget: found None; give a list"),
        ({"fewest": "ten"}, "sums.fewest: found 'ten'; give a count"),
        ({"fewest": 9.9}, "sums.fewest: found 9.9; give a count"),
    ],
)
def test_a_setting_of_sums_that_cannot_be_is_named(setting: dict, words: str):
    with pytest.raises(UserError, match=f"^{words}"):
        SumSettings.read(setting)


def test_the_start_of_survival_is_nelson_and_aalens_hazard_by_months():
    response = Hazard(np.array([1.0, 0, 1, 1]), np.array([10.0, 40, 45, 200]))
    days, hazard = response.start()
    assert days[:2].tolist() == [30.4375, 60.875] and len(days) == 7
    assert hazard.tolist() == pytest.approx([1 / 4, 1 / 4 + 1 / 3, *[1 / 4 + 1 / 3] * 4, 1 / 4 + 1 / 3 + 1])
    slope, bend = response.tangent(response.start())
    assert bend.tolist() == pytest.approx([hazard[0], hazard[1], hazard[1], hazard[6]])
    assert slope.tolist() == pytest.approx((np.array([1.0, 0, 1, 1]) - bend).tolist())
