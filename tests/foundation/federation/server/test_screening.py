"""What is refused before it counts, and in which words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.server.screening import Screening

REPORT, FUSION = "encoder.modalities.report.weight", "encoder.fusion.weight"
COUNT = "encoder.fusion.bn.num_batches_tracked"
PREVIOUS = {
    REPORT: np.ones((3, 4), dtype=np.float32),
    FUSION: np.ones(5, dtype=np.float32),
    COUNT: np.array(3, dtype=np.int64),
}


def update(**changed: np.ndarray) -> dict[str, np.ndarray]:
    names = {"report": REPORT, "fusion": FUSION, "count": COUNT}
    found = {name: np.zeros_like(value) for name, value in PREVIOUS.items()}
    return found | {names[key]: value for key, value in changed.items()}


def test_a_good_update_passes_with_its_norms_by_group():
    given = update(report=np.full((3, 4), 2, dtype=np.float32), count=np.array(8, dtype=np.int64))
    assert Screening().check("ucsf", PREVIOUS, given, {"report": 12, "fusion": 0}) == {
        "report": pytest.approx(np.sqrt(48)),
        "fusion": 0.0,
    }


def test_what_is_missing_has_not_changed():
    assert Screening().check("ucsf", PREVIOUS, {FUSION: np.ones(5, dtype=np.float32)}) == {
        "fusion": pytest.approx(np.sqrt(5))
    }


def holed(value: float) -> np.ndarray:
    found = np.zeros((3, 4), dtype=np.float32)
    found[1, 1] = value
    return found


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (update(report=holed(np.nan)), f"ucsf: {REPORT}: NaN in the update"),
        (update(report=holed(np.inf)), f"ucsf: {REPORT}: infinite numbers in the update"),
        (update(report=np.zeros((4, 3), dtype=np.float32)), r"shape \(4, 3\), \(3, 4\) expected"),
        (update(report=np.zeros((3, 4))), "an array of float64, float32 expected"),
        (update(report=np.zeros((3, 4), dtype=np.int8)), "an array of int8, float32 expected"),
        (update(count=np.array(1.5)), "an array of float64, int64 expected"),
        (
            {"encoder.modalities.radiology.weight": np.zeros(1, dtype=np.float32)},
            "ucsf: encoder.modalities.radiology.weight: no parameter that this run federates",
        ),
    ],
)
def test_what_is_no_update_of_this_model_is_refused_by_name(given, named):
    with pytest.raises(UserError, match=named) as caught:
        Screening().check("ucsf", PREVIOUS, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "named"),
    [
        ({"report": -1}, "samples of report: -1"),
        ({"report": 10**9}, "samples of report: 1000000000, 0 to 64 can be"),
        ({"radiology": 3}, "samples of radiology: no group"),
    ],
)
def test_counts_that_cannot_be_are_refused(samples, named):
    with pytest.raises(UserError, match=named):
        Screening().check("ucsf", PREVIOUS, update(), samples, most=64)


def test_the_largest_numbers_of_single_precision_have_a_norm():
    largest = np.full((3, 4), np.finfo(np.float32).max, dtype=np.float32)
    assert np.isfinite(Screening(longest=None).check("ucsf", PREVIOUS, update(report=largest))["report"])


def test_an_absolute_bound_holds_for_one_site_alone():
    given = update(fusion=np.full(5, 2, dtype=np.float32))
    assert Screening(longest=5.0).check("ucsf", PREVIOUS, given)["fusion"] == pytest.approx(np.sqrt(20))
    with pytest.raises(UserError, match="ucsf: fusion: an update of length 4.47; screening.longest is 4"):
        Screening(longest=4.0).check("ucsf", PREVIOUS, given)


def test_an_exploding_update_is_named_with_its_group_and_the_others_stay():
    norms = {"a": {"report": 1.0, "fusion": 1.0}, "b": {"report": 2.0}, "c": {"report": 3.0}, "d": {"report": 900.0}}
    assert Screening(factor=100).outliers(norms) == {
        "d": "d: report: an update 450 times as long as the other sites' median (900 to 2); screening.factor is 100"
    }


def test_two_sites_are_not_compared_and_sites_that_did_not_train_a_group_do_not_count():
    assert Screening(factor=2).outliers({"a": {"report": 1.0}, "b": {"report": 100.0}, "c": {"report": 0.0}}) == {}
    assert Screening(factor=None).outliers({"a": {"f": 1.0}, "b": {"f": 1e9}, "c": {"f": 1.0}}) == {}


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=9), st.integers(0, 8), st.floats(1e4, 1e12))
def test_one_explosion_is_found_whatever_the_others_are_and_nobody_else_is_accused(lengths, place, explosion):
    place %= len(lengths)
    norms = {f"site{index}": {"fusion": length} for index, length in enumerate(lengths)}
    assert Screening(factor=100).outliers(norms) == {}
    norms[f"site{place}"] = {"fusion": explosion}
    assert set(Screening(factor=100).outliers(norms)) == {f"site{place}"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"factor": 1.0}, "screening.factor"),
        ({"longest": 0.0}, "screening.longest"),
        ({"least": 2}, "screening.least"),
        ({"processes": 0}, "screening.processes"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, named):
    with pytest.raises(UserError, match=named):
        Screening(**arguments)
