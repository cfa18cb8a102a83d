"""Axes, spread and limits of novelty by sums over hospitals, held against those of everybody at one place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.federated.novelty import MOMENTS, NOVELTY, NoveltyAnswers
from finetune.federated.reliability import fit_by_sums
from finetune.federated.reliability_settings import ReliabilityPart
from finetune.federated.steady import Steady, of_steady_sites
from finetune.heads.survival import Survival
from finetune.reliability.fit import Patients, Settings, fit_reliability
from finetune.reliability.module import Reliability
from finetune.reliability.moments import Moments, units
from finetune.reliability.novelty import Axes
from foundation.errors import UserError
from tests.finetune.federated.hospitals import Hospitals

MODALITIES = ["image", "genes"]
BLOCKS = [["image", "image.a", 12], ["image", "image.b", 4], ["genes", "genes", 90]]  # genes: more than patients
NAMES = ("ash", "beech", "cedar", "oak")
EACH = 40
SIZE = 106


def everybody(holes: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, who validates, and hospitals; cedar has no genes, and with holes some lack single features."""
    rng = np.random.default_rng(3)
    features = 300 + rng.normal(size=(EACH * 4, 5)) @ rng.normal(size=(5, SIZE)) + rng.normal(0, 0.4, (EACH * 4, SIZE))
    features[:, 7] = 1.0  # of everybody
    hospitals = [name for name in NAMES for _ in range(EACH)]
    features[2 * EACH : 3 * EACH, 16:] = np.nan
    features[:5, :12] = np.nan
    if holes:
        features[rng.random(features.shape) < 0.05] = np.nan
    return features, np.arange(len(features)) % 2 == 0, hospitals


def asking(features: np.ndarray, unseen: np.ndarray, hospitals: list[str], folder: Path, **more) -> Hospitals:
    answers = {}
    for name in dict.fromkeys(hospitals):
        rows = np.array(hospitals) == name
        module = Reliability(MODALITIES, BLOCKS, 0)
        part = NoveltyAnswers(module, features[rows], unseen[rows], folder / name)
        of = {MOMENTS: part.moments, NOVELTY: part.answer}
        answers[name] = lambda kind, question, of=of: of[kind](question).arrays
    return Hospitals(answers, **more)


def across(ask: Hospitals, flagged: float = 0.02) -> Reliability:
    def fit(steady: Steady) -> Reliability:
        settings = ReliabilityPart(coverage=0.9, flagged=flagged)
        found = fit_by_sums(steady, {}, Survival(4), 1, MODALITIES, BLOCKS, settings, None).reliability
        assert found is not None
        return found

    return of_steady_sites(ask, fit)


def at_one_place(features: np.ndarray, unseen: np.ndarray, hospitals: list[str], flagged: float = 0.02) -> Reliability:
    behind = Patients(features, hospitals, unseen, {}, lambda names: torch.zeros(int(unseen.sum()), 1))
    return fit_reliability(None, MODALITIES, BLOCKS, behind, Settings(flagged=flagged))


def same(one: Reliability, other: Reliability) -> None:
    assert one.settings() == other.settings()
    for ours, theirs in zip(one.novelty, other.novelty, strict=True):
        for name in ("mean", "scale", "variance", "rest", "middle", "below", "above"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=2e-7, atol=0, msg=name)
        spans = [(block.rotation @ block.rotation.T) for block in (ours, theirs)]  # whatever the signs of its vectors
        torch.testing.assert_close(*spans, rtol=0, atol=2e-6)
    torch.testing.assert_close(one.limits, other.limits, rtol=0, atol=0)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("flagged", [0.2, 0.02])  # a rank among the patients; beyond them, stretched
def test_novelty_of_hospitals_is_that_of_everybody_at_one_place(tmp_path: Path, holes: bool, flagged: float):
    parts = everybody(holes)
    found = across(asking(*parts, tmp_path), flagged)
    same(found, at_one_place(*parts, flagged))
    assert (found.limits > 0).all()


@pytest.mark.parametrize("holes", [False, True])
def test_axes_of_sums_without_a_hospital_are_those_of_the_others(holes: bool):
    features, _, hospitals = everybody(holes)
    rows = np.array(hospitals)
    centre, known = np.nanmean(features, axis=0), (~np.isnan(features)).sum(axis=0)
    unit = units(np.nansum(np.abs(features - centre), axis=0), known)
    sums = [Moments.of(features[rows == name], centre, unit) for name in NAMES]
    total = Moments(*(sum(parts) for parts in zip(*sums, strict=True)))
    others = features[rows != "beech"]
    expected = Axes.of(others[~np.isnan(others).all(axis=1)], 16)
    found = total.without(sums[1]).axes(centre, unit, 16)
    for name in ("mean", "scale", "variance", "rest"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-10, err_msg=name)
    spans = [axes.rotation @ axes.rotation.T for axes in (found, expected)]
    np.testing.assert_allclose(*spans, atol=1e-10)


def test_site_that_leaves_between_two_exchanges_is_in_none_of_them(tmp_path: Path):
    features, unseen, hospitals = everybody(False)
    there = np.array(hospitals) != "oak"
    found = across(asking(features, unseen, hospitals, tmp_path, leaving={9: "oak"}))
    rest = [name for name in hospitals if name != "oak"]
    same(found, at_one_place(features[there], unseen[there], rest))


def test_block_of_too_few_patients_has_no_score(tmp_path: Path):
    features, unseen, hospitals = everybody(False)
    features[:, 16:] = np.where(np.arange(len(features))[:, None] < 15, features[:, 16:], np.nan)
    found = across(asking(features, unseen, hospitals, tmp_path))
    same(found, at_one_place(features, unseen, hospitals))
    assert found.limits[0] > 0 and found.limits[1] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.zeros((300, 6))}, "novelty: asked to count below other than one to 255 numbers"),
        ({"edges": np.full((1, 6), np.nan)}, "novelty: asked to count below other than one to 255 numbers"),
        ({"edges": np.zeros((1, 5))}, "novelty: asked to count below other than one to 255 numbers"),
        ({"edges": np.zeros((1, 6)), "name": np.zeros(32, dtype=np.uint8)}, r"0\.npy: cannot be read .*resume=true"),
        ({"block": np.array([3])}, "moments: asked for a block of features beyond the 3 there are"),
        ({"block": np.array([0]), "centre": np.zeros(3)}, "moments: centre is not a finite number for each of 12"),
    ],
)
def test_question_that_no_server_of_this_release_asks_is_refused(tmp_path: Path, change: dict, message: str):
    features, unseen, _ = everybody(False)
    part = NoveltyAnswers(Reliability(MODALITIES, BLOCKS, 0), features, unseen, tmp_path)
    with pytest.raises(UserError, match=message):
        (part.answer if "edges" in change else part.moments)(change)
