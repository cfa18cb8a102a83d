"""Sequential tests by betting: the false-alarm rate by simulation, power, and equality of what hospitals add."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.statistics.betting import STAKES, BettingTable, alarms_at, anytime_p, log_fortunes
from foundation.statistics.table import total

LEVEL = 0.05
LOOKS, PATIENTS, STREAMS = 12, 40, 600


def looks_of(values: np.ndarray, bound: float) -> list[BettingTable]:
    return [BettingTable.from_patients(look, bound) for look in values]


def rate(values: np.ndarray, bound: float) -> float:
    """Of streams `[streams, looks, patients]`, the share that ever raises an alarm."""
    return float(np.mean([alarms_at(looks_of(stream, bound), LEVEL) is not None for stream in values]))


@pytest.mark.parametrize("bound", [0.03, 0.2, 0.5])
def test_alarms_hold_their_rate_at_the_bound_however_often_one_looks(bound: float) -> None:
    values = np.random.default_rng(0).random((STREAMS, LOOKS, PATIENTS)) < bound
    # Three standard errors of a rate of 0.05 in so many streams.
    assert rate(values.astype(float), bound) <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / STREAMS)


def test_alarms_hold_their_rate_where_patients_of_a_hospital_differ_in_turn() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(0, 0.4, (STREAMS, LOOKS, 1)).repeat(PATIENTS, axis=2)  # a mean of 0.2, look by look another
    drawn = np.minimum(chance, 0.2)  # never above the bound, given what came before
    assert rate((rng.random(chance.shape) < drawn).astype(float), 0.2) <= LEVEL


@pytest.mark.parametrize(("begins", "least"), [(0, 0.99), (6, 0.95)])
def test_a_change_is_seen_whether_it_comes_at_once_or_late(begins: int, least: float) -> None:
    chance = np.where(np.arange(LOOKS) >= begins, 0.4, 0.15)[None, :, None]
    values = np.random.default_rng(2).random((200, LOOKS, PATIENTS)) < chance
    found = [alarms_at(looks_of(stream.astype(float), 0.2), LEVEL) for stream in values]
    assert np.mean([at is not None and at >= begins for at in found]) >= least


@given(st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=5), st.floats(0.01, 1))
def test_sums_of_hospitals_are_the_test_of_all_patients_in_one_place(parts: list[list[float]], bound: float) -> None:
    apart = total([BettingTable.from_patients(part, bound) for part in parts])
    together = BettingTable.from_patients([value for part in parts for value in part], bound)
    np.testing.assert_allclose(apart.growth, together.growth, atol=1e-9)
    assert apart.counts[0, 0] == together.counts[0, 0] == sum(map(len, parts))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_a_fortune_is_the_mixture_written_out(outcomes: list[int], bound: float) -> None:
    looks = [BettingTable.from_patients([x], bound) for x in outcomes]
    fortune = 1 / (len(outcomes) + 1)  # kept for games that have not begun
    for begin in range(1, len(outcomes) + 1):
        games = [math.prod(1 - s + s * x / bound for x in outcomes[begin - 1 :]) for s in STAKES]
        fortune += sum(games) / len(STAKES) / (begin * (begin + 1))
    assert log_fortunes(looks)[-1] == pytest.approx(math.log(fortune), abs=1e-9)


@pytest.mark.parametrize("bound", [0.1, 0.5, 0.9])
def test_a_game_on_what_is_at_the_bound_is_fair(bound: float) -> None:
    won, lost = (log_fortunes([BettingTable.from_patients([x], bound)])[0] for x in (1, 0))
    assert bound * math.exp(won) + (1 - bound) * math.exp(lost) == pytest.approx(1)


def test_a_value_at_the_bound_moves_nothing_and_nobody_does_neither() -> None:
    assert log_fortunes([BettingTable.from_patients([0.3, 0.3], 0.3)])[0] == pytest.approx(0)
    assert log_fortunes([BettingTable.empty(0.3)] * 4) == pytest.approx(np.zeros(4))
    assert len(log_fortunes([])) == 0 and anytime_p([]) == 1


def test_p_is_the_level_at_which_the_alarm_is_just_raised() -> None:
    looks = looks_of(np.ones((3, 10)), 0.5)
    p = anytime_p(looks)
    assert alarms_at(looks, p * 1.001) is not None and alarms_at(looks, p * 0.999) is None


@pytest.mark.parametrize(("values", "bound"), [([1.1], 0.5), ([-0.1], 0.5), ([0.5], 0.0), ([0.5], 1.1)])
def test_what_no_game_can_be_of_is_refused(values: list[float], bound: float) -> None:
    with pytest.raises(UserError, match="betting"):
        BettingTable.from_patients(values, bound)
