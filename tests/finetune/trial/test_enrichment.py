"""Enriched trials: sizes from the curves of those who would be enrolled."""

import math

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from finetune.trial.design import Design
from finetune.trial.enrichment import Enrichment
from foundation.errors import UserError

FAST = {"resamples": 20, "follow_up": 700, "shares": [0.4]}


def value(page, endpoint, share, name):
    return page.figures[f"enrichment/{endpoint}/{share:g}/{name}"].value


def test_sizes_are_schoenfelds_at_the_events_of_those_enrolled(scored):
    page = Enrichment(**FAST).run(scored, 0)
    known = scored.known("os_event", "os_days")
    cut = np.quantile(known.score, 0.4)
    for share, inside in ((0.0, np.ones(len(known.table), bool)), (0.4, known.score >= cut)):
        table = known.table[inside]
        survival = float(KaplanMeierFitter().fit(table["os_days"], table["os_event"]).predict(700))
        events = (1 - survival + 1 - survival**0.7) / 2
        size = math.ceil(Design().distance ** 2 / (0.25 * events * math.log(0.7) ** 2))
        screened = math.ceil(size / inside.mean())
        assert value(page, "time_to_event", share, "events") == pytest.approx(1 - survival, abs=1e-9)
        assert value(page, "time_to_event", share, "randomised") == size
        assert value(page, "time_to_event", share, "screened") == screened
        assert value(page, "time_to_event", share, "months") == pytest.approx(screened / 20 + 700 / (365.25 / 12))
    assert value(page, "time_to_event", 0.0, "power") == pytest.approx(0.8, abs=0.01)
    assert value(page, "time_to_event", 0.4, "power") > value(page, "time_to_event", 0.0, "power")


def test_a_binary_endpoint_counts_its_positives(scored):
    page = Enrichment(endpoint="binary", outcome="biomarker", effect=0.5, follow_up=None, resamples=20).run(scored, 0)
    risk = scored.known("biomarker").table["biomarker"].mean()
    variance = 2 * (risk / 2 * (1 - risk / 2) + risk * (1 - risk))
    size = math.ceil(Design().distance ** 2 * variance / (risk / 2) ** 2)
    assert value(page, "binary", 0.0, "randomised") == size
    assert value(page, "binary", 0.0, "months") == pytest.approx(size / 20)


def test_a_trial_longer_than_anybody_was_followed_is_not_defined(scored):
    page = Enrichment(resamples=5, follow_up=99_999).run(scored, 0)
    assert "No threshold" in page.lead[0]
    assert all(figure.value is None for name, figure in page.figures.items() if name.endswith("randomised"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"effect": 1.2}, "tool.effect: found 1.2; give a ratio between 0 and 1"),
        ({"shares": [1.0]}, "tool.shares: found 1.0; give shares"),
        ({"screened_a_month": 0}, "tool.screened_a_month: found 0"),
        ({"screened_a_month": float("inf")}, "tool.screened_a_month: found inf"),
        ({"shares": []}, r"tool.shares: found \[\]; give a list of at least one"),
        ({"shares": [0.5, "most"]}, "tool.shares: found most; give shares of patients"),
        ({"resamples": 1}, "tool.resamples: found 1; give a count from 2"),
        ({"follow_up": 0}, "tool.follow_up: found 0; give days, above 0"),
        ({"follow_up": None}, "tool.follow_up: give the days"),
        ({"endpoint": "continuous", "outcome": "age"}, "'continuous' has no events to enrich"),
    ],
)
def test_settings_that_cannot_be_are_one_line(scored, settings, words):
    with pytest.raises(UserError, match=words):
        Enrichment(**settings).run(scored, 0)
