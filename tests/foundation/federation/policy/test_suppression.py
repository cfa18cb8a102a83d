"""Numbers of few patients, which stay at home."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.policy import (
    Declined,
    ReplyFacts,
    SitePolicy,
    check_reply,
    public_reason,
    suppress,
    withhold,
)
from tests.foundation.federation.policy.orders import ORDER, REPLY, policy

METRICS = {
    "patients": 30.0,
    "seconds": 2.5,
    "loss": 0.5,
    "train/loss": 0.4,
    "report_to_record/r@5": 0.5,
    "report_to_record/chance@5": 5 / 30,
    "report_to_genomics/r@1": 0.5,
    "report_to_genomics/chance@1": 1 / 4,
    "report_genomics/alignment": 0.1,
    "record_genomics/alignment": 0.1,
    "report_record/alignment": 0.1,
    "genomics/uniformity": -2.0,
    "record/uniformity": -2.0,
}


def test_metrics_of_few_patients_stay_at_home():
    rules = policy(patients={"metrics": 20})
    assert suppress(rules, METRICS, 19) == {"seconds": 2.5}
    assert suppress(rules, METRICS, 30) == {
        name: METRICS[name]
        for name in (
            "patients",
            "seconds",
            "loss",
            "train/loss",
            "report_to_record/r@5",
            "report_to_record/chance@5",
            "report_record/alignment",
            "record/uniformity",
        )
    }
    assert suppress(SitePolicy(), METRICS, 1) == METRICS


def test_counts_given_for_a_metric_decide():
    rules = policy(patients={"metrics": 20})
    found = suppress(
        rules, {"masked_genes": 1.0, "loss": 1.0, "genomics/x": 1.0}, 30, {"masked_genes": 4, "genomics": 25}
    )
    assert found == {"loss": 1.0, "genomics/x": 1.0}


def test_a_small_number_of_patients_is_itself_no_metric():
    assert suppress(policy(patients={"cell": 10}), {"patients": 9.0, "loss": 1.0}, 9) == {"loss": 1.0}


def test_a_metric_that_should_have_been_suppressed_does_not_leave():
    rules = policy(patients={"metrics": 20})
    reply = ReplyFacts("evaluation", patients=19, metrics={"loss": 0.5})
    with pytest.raises(Declined, match=r"patients\.metrics"):
        check_reply(rules, ORDER, reply)
    check_reply(rules, ORDER, replace(reply, metrics=suppress(rules, reply.metrics, 19)))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), max_size=6),
    st.integers(1, 15),
    st.integers(1, 15),
    st.integers(1, 5),
)
def test_a_group_that_few_patients_taught_stays_at_home(samples, behind, cell, training, epochs):
    rules = policy(patients={"cell": cell, "training": training})
    kept = withhold(rules, samples, behind, epochs)
    assert kept.items() <= samples.items()
    for group, count in samples.items():
        patients = min(behind.get(group, 99), math.ceil(count / epochs))
        few = count and patients < max(cell, training)
        assert (group in kept) == (not few)


def test_a_group_that_should_have_been_withheld_does_not_leave():
    rules = policy(patients={"training": 20})
    reply = replace(REPLY, samples={"genomics": 40, "fusion": 90}, behind={"genomics": 8, "fusion": 50})
    with pytest.raises(Declined, match="trained by too few of this site's patients"):
        check_reply(rules, ORDER, reply)
    check_reply(rules, ORDER, replace(reply, samples=withhold(rules, reply.samples, reply.behind)))


def test_an_error_that_may_quote_a_table_is_not_told():
    error = UserError("patients.csv: row 7, field age: no number (abc)")
    assert public_reason(SitePolicy(), error) == str(error)
    assert public_reason(policy(error_details=False), error) == "this site could not do its part; its own log says why"
    assert public_reason(policy(error_details=False), Declined("tasks: no")) == "policy: tasks: no"
