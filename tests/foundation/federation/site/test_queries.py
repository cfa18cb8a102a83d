"""Questions about patients: never about nearly the same ones twice, and only so many a day."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.federation.ledger.entry import Entry
from foundation.federation.policy import Declined, SitePolicy
from foundation.federation.site.config import Site
from foundation.federation.site.queries import check_query, query_digest

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
        with pytest.raises(Declined, match="queries: an earlier answer was about nearly the same patients") as declined:
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
