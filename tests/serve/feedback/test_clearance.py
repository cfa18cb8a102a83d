"""When a release in the shadow is cleared: by errors shown to be within their bound, however often one looks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundation.statistics.betting import BettingTable
from serve.feedback.declared import Declared
from serve.feedback.looks import is_earned, look
from serve.feedback.store import Answer, Store
from tests.serve.feedback.releases import VERSION, at_hospital


def keep(store: Store, quarter: str, outcomes: Sequence[int]) -> None:
    """Answers in the shadow that say 0 and 1 by turns, and what came of them."""
    patients = [f"{quarter}-{number}" for number in range(len(outcomes))]
    rows = [Answer(one, VERSION, {"positive": number % 2}, {}, False) for number, one in enumerate(patients)]
    store.keep(rows, quarter, True)
    store.add_outcomes([(one, "positive", y) for one, y in zip(patients, outcomes, strict=True)], quarter)


def test_a_lucky_first_look_clears_no_shadow(declared: Declared, tmp_path: Path) -> None:
    """42 of 50 right, where 35 are at the bound: an interval of this look alone would be within it."""
    store, ledger = at_hospital(tmp_path / "own", declared.model_copy(update={"brier": {"positive": 0.3}}))
    keep(store, "2027-Q1", [number % 2 if number < 42 else 1 - number % 2 for number in range(50)])
    standing = look(store, ledger, VERSION, "2027-Q1", 50)
    assert not [one for one in standing if one.alarm] and not ledger.is_cleared(VERSION)


def test_a_shadow_at_its_bound_is_cleared_as_seldom_as_said_over_all_looks(declared: Declared) -> None:
    rng, streams, cleared = np.random.default_rng(1), 400, 0
    wide = declared.model_copy(update={"brier": {"positive": 0.3}})
    for _ in range(streams):
        wrong = (rng.random((30, 20)) < 0.3).astype(float)
        looks = [{"positive": BettingTable.from_patients(1 - one, wide.accuracy("positive"))} for one in wrong]
        cleared += any(is_earned(wide, [], looks[:count], 50) for count in range(1, 31))
    assert cleared / streams <= 0.025


def test_a_bound_that_nothing_exceeds_is_cleared_by_outcomes_alone(declared: Declared, tmp_path: Path) -> None:
    store, ledger = at_hospital(tmp_path / "own", declared.model_copy(update={"brier": {"positive": 1.0}}))
    for quarter, cleared in (("2027-Q1", False), ("2027-Q2", True)):
        keep(store, quarter, [number % 2 for number in range(30)])
        look(store, ledger, VERSION, quarter, 50)
        assert ledger.is_cleared(VERSION) is cleared
