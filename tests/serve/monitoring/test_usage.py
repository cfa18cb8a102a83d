"""Counts, and what drift makes of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from serve.monitoring.drift import LEAST, compare
from serve.monitoring.usage import Usage


def answer(scores: dict[str, float | None], parts: int = 3, abstain: bool = False) -> dict[str, Any]:
    return {
        "reliability": {"out_of_distribution": scores, "abstain": abstain},
        "modalities_used": list(scores),
        "examined": {name: {"what": "images", "examined": parts, "of": parts} for name in scores},
    }


def usage_of(*contents: dict[str, Any]) -> Usage:
    usage = Usage()
    for content in contents:
        usage.add(200, content)
    return usage


def test_usage_counts_answers_and_refusals():
    usage = usage_of(answer({"report": 0.25, "pathology": 9.0}, abstain=True), answer({"report": None}, parts=5000))
    usage.add(422, None)
    usage.add(200, None)  # an explanation is no answer
    usage.add(200, {**answer({"report": 0.26}), "reliability": None})
    assert usage == Usage(
        answered=3,
        abstained=1,
        refused={"422": 1},
        modalities={"report": 3, "pathology": 1},
        subsets={"pathology+report": 1, "report": 2},
        scores={"report": [1, 0, 0, 0, 0, 0, 0, 0], "pathology": [0, 0, 0, 0, 0, 0, 0, 1]},
        parts={
            "report": [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            "pathology": [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        },
    )


CONTENTS = st.lists(st.builds(answer, st.dictionaries(st.sampled_from("abc"), st.floats(0, 9), min_size=1)), max_size=5)


@given(CONTENTS, CONTENTS)
@settings(max_examples=50, deadline=None)
def test_usage_adds_up(one: list[dict[str, Any]], other: list[dict[str, Any]]):
    assert usage_of(*one) + usage_of(*other) == usage_of(*one, *other)


def sample(rng: np.random.Generator, count: int, scale: float, images: float = 1.0) -> Usage:
    return usage_of(
        *(
            answer({"report": float(rng.exponential(scale))} | ({"pathology": 0.4} if rng.random() < images else {}))
            for _ in range(count)
        )
    )


def test_drift_is_the_index_of_the_two_histograms():
    before, now = usage_of(*[answer({"a": 0.1})] * 30, *[answer({"a": 3.0})] * 10), usage_of(*[answer({"a": 3.0})] * 40)
    (score,) = [one for one in compare(before, now) if one.statistic == "scores"]
    p, q = np.array([30.5, 10.5]) / 41, np.array([0.5, 40.5]) / 41
    assert score.index == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert (score.modality, score.reference, score.answered, score.drifted) == ("a", 40, 40, True)
    assert score.limit == pytest.approx((1 / 40 + 1 / 40) * stats.chi2.ppf(0.999, 1))


def test_drift_is_seldom_seen_where_there_is_none_and_always_where_scores_double():
    rng = np.random.default_rng(0)
    same = [one.drifted for _ in range(200) for one in compare(sample(rng, 60, 0.4), sample(rng, 150, 0.4))]
    assert np.mean(same) < 0.01
    for _ in range(20):
        drifted = [one for one in compare(sample(rng, 60, 0.4), sample(rng, 300, 1.2)) if one.drifted]
        assert [(one.statistic, one.modality) for one in drifted] == [("scores", "report")]


def test_drift_is_seen_where_a_modality_goes_missing():
    rng = np.random.default_rng(1)
    compared = compare(sample(rng, 100, 0.4, images=0.9), sample(rng, 100, 0.4, images=0.3))
    assert [(one.statistic, one.modality) for one in compared if one.drifted] == [("share", "pathology")]


def test_drift_is_seen_where_a_modality_comes_that_the_bundle_s_patients_never_had():
    rng = np.random.default_rng(1)
    compared = compare(sample(rng, 100, 0.4, images=0), sample(rng, 100, 0.4, images=0.9))
    assert [(one.statistic, one.modality) for one in compared if one.drifted] == [("share", "pathology")]


def test_drift_says_nothing_of_nobody():
    assert compare(usage_of(answer({"a": 0.1})), Usage()) == []
    assert all(one.limit >= LEAST for one in compare(usage_of(answer({"a": 0.1})), usage_of(answer({"a": 0.1}))))
