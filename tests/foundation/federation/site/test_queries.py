"""Questions about patients: never about nearly the same ones twice, and only so many a day."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger.entry import Entry
from foundation.federation.policy import Declined, SitePolicy
from foundation.federation.site.config import Site
from foundation.federation.site.queries import check_query, query_digest, tells_of_few

CELL = 5


def site(folder: Path, **limits: int) -> Site:
    policy = SitePolicy.model_validate({"patients": {"cell": CELL}, "limits": limits})
    return Site("riverside", None, policy, folder / "ledger.jsonl", folder)


def names(*numbers: int) -> list[str]:
    return [f"p{number}" for number in numbers]


def answered(kind: str, hours: float) -> Entry:
    time = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="milliseconds")
    return Entry.model_validate({"index": 0, "previous": "", "time": time, "kind": kind, "direction": "out"})


def test_one_patient_less_is_refused_and_the_same_again_is_not(tmp_path):
    here, everybody = site(tmp_path), names(*range(50))
    check_query(here, [], everybody)
    check_query(here, [], everybody[::-1])
    for fewer in (everybody[1:], [*everybody[1:], "new"], everybody[:-4]):
        with pytest.raises(Declined, match="queries: earlier answers were about nearly the same patients") as declined:
            check_query(here, [], fewer)
        assert "p0" not in str(declined.value)
    check_query(here, [], everybody[5:])
    with pytest.raises(Declined, match="nearly the same"):
        check_query(here, [], everybody[6:])


def test_a_day_has_so_many_answers(tmp_path):
    here = site(tmp_path, queries=2)
    old = [answered("statistics", 25), answered("update", 1), answered("evaluation", 1)]
    check_query(here, old, names(1, 2))
    with pytest.raises(Declined, match=r"limits\.queries: 2 statistics and evaluations were answered within a day"):
        check_query(here, [*old, answered("statistics", 23)], names(1, 2))


@settings(max_examples=50, deadline=None)
@given(sets=st.lists(st.frozensets(st.integers(0, 30)), min_size=2, max_size=8))
def test_whatever_is_asked_no_two_answers_differ_by_fewer_than_a_cell(tmp_path_factory, sets):
    here = site(tmp_path_factory.mktemp("queries"))
    told: list[frozenset[int]] = []
    for asked in sets:
        try:
            check_query(here, [], names(*asked))
        except Declined:
            continue
        told.append(asked)
    assert all(one == other or len(one ^ other) >= CELL for one in told for other in told)
    assert len({query_digest(names(*one)) for one in told}) == len(set(told))


@pytest.mark.attack
@pytest.mark.parametrize(
    "sets",
    [
        [names(*range(20)), names(*range(20, 40)), names(*range(41))],
        [names(*range(30)), names(*range(15, 45)), names(*range(15), *range(30, 45)), names(*range(15, 31))],
        [names(*range(20)), names(*range(10, 30)), names(*range(20, 40)), names(*range(10), *range(30, 39))],
    ],
)
def test_attack_by_sums_of_several_sets_of_which_no_two_are_nearly_the_same(tmp_path: Path, sets: list[list[str]]):
    here = site(tmp_path)
    for one, other in itertools.combinations(sets, 2):
        assert len(set(one) ^ set(other)) >= CELL
    for one in sets[:-1]:
        check_query(here, [], one)
    with pytest.raises(Declined, match="nearly the same"):
        check_query(here, [], sets[-1])


def test_splits_drawn_anew_are_answered_where_no_sum_of_them_is_about_few(tmp_path: Path):
    """Training and validation sets of two draws: their sums are of everybody, and never of the 2 who were in both."""
    here, drawn = site(tmp_path), ([0, 1, *range(2, 15)], [0, 1, *range(15, 28)])
    for validation in drawn:
        check_query(here, [], names(*validation))
        check_query(here, [], names(*(number for number in range(100) if number not in validation)))


@settings(max_examples=60, deadline=None)
@given(sets=st.lists(st.frozensets(st.integers(0, 14)), min_size=1, max_size=4), least=st.integers(2, 5))
def test_small_combinations_with_few_patients_are_always_told(sets, least):
    large = [frozenset(map(str, one)) for one in sets if len(one) >= least]
    weighed = itertools.product((-2, -1, 0, 1, 2), repeat=len(large))
    found = False
    for weights in weighed:
        support = [
            patient
            for patient in set().union(*large)
            if sum(weight for weight, one in zip(weights, large, strict=True) if patient in one)
        ]
        found = found or 0 < len(support) < least
    if found:
        assert tells_of_few(large, least)


@pytest.mark.attack
def test_attack_by_a_disk_on_which_the_sets_behind_answers_were_removed(tmp_path: Path):
    here, everybody = site(tmp_path), names(*range(50))
    check_query(here, [], everybody)
    entry = answered("evaluation", 1).model_copy(update={"query": query_digest(everybody)})
    check_query(here, [entry], everybody)
    for path in (tmp_path / "asked").glob("*.json"):
        path.unlink()
    with pytest.raises(UserError, match="the sets of 1 earlier answers, which the ledger names, are gone"):
        check_query(here, [entry], everybody[1:])
