"""Questions after patients have withdrawn: told from earlier ones as before, though nobody's name is left."""

import itertools
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import query_sets
from foundation.errors import UserError
from foundation.federation.policy import Declined, SitePolicy
from foundation.federation.site.config import Site
from foundation.federation.site.queries import check_query, tells_of_few
from foundation.query_sets import QuerySet

CELL = 5


def site(folder: Path) -> Site:
    return Site("riverside", None, SitePolicy.model_validate({"patients": {"cell": CELL}}), folder / "l.jsonl", folder)


def names(*numbers: int) -> list[str]:
    return [f"p{number}" for number in numbers]


def allowed(here: Site, patients: list[str]) -> bool:
    try:
        check_query(here, [], patients)
    except Declined:
        return False
    return True


def test_names_of_who_withdrew_are_in_no_set_and_one_patient_has_one_blind_id(tmp_path: Path) -> None:
    here = site(tmp_path)
    check_query(here, [], names(*range(20)))
    check_query(here, [], names(*range(10)))
    changed = query_sets.blind(tmp_path / "asked", names(*range(2, 20)))
    assert sorted(changed) == sorted((tmp_path / "asked").glob("*.json"))
    assert not any('"p0"' in path.read_text() or '"p1"' in path.read_text() for path in changed)
    large, small = sorted(map(QuerySet.read, changed), key=lambda one: -len(one.patients))
    assert large == QuerySet(frozenset(names(*range(2, 20))), small.withdrawn)
    assert len(large.withdrawn) == 2
    assert query_sets.blind(tmp_path / "asked", names(*range(2, 20))) == []


@pytest.mark.attack
@pytest.mark.parametrize("many", [1, 4])
def test_attack_by_the_same_question_before_and_after_a_few_withdrew(many: int, tmp_path: Path) -> None:
    here, stay = site(tmp_path), names(*range(many, 50))
    check_query(here, [], names(*range(50)))
    query_sets.blind(tmp_path / "asked", stay)
    with pytest.raises(Declined, match="queries: earlier answers were about nearly the same patients"):
        check_query(here, [], stay)
    check_query(here, [], [*stay, *names(*range(50, 60))])  # with enough newcomers


@pytest.mark.attack
def test_attack_by_a_patient_who_withdrew_and_returned(tmp_path: Path) -> None:
    """Four others less, and one back: by names 4 patients differ, by blind ids 6."""
    here = site(tmp_path)
    check_query(here, [], names(*range(50)))
    query_sets.blind(tmp_path / "asked", names(*range(1, 50)))
    assert not allowed(here, names(*range(46)))
    assert not allowed(here, [*names(*range(1, 46)), "new"])
    assert allowed(here, names(*range(44)))


def test_as_many_as_a_cell_may_withdraw_between_two_questions(tmp_path: Path) -> None:
    here = site(tmp_path)
    check_query(here, [], names(*range(50)))
    query_sets.blind(tmp_path / "asked", names(*range(CELL, 50)))
    assert allowed(here, names(*range(CELL, 50)))


@settings(max_examples=60, deadline=None)
@given(
    sets=st.lists(st.frozensets(st.integers(0, 20)), min_size=1, max_size=5),
    withdrawn=st.frozensets(st.integers(0, 20), max_size=3),
    question=st.frozensets(st.integers(0, 20)),
)
def test_whatever_is_refused_with_names_is_refused_without(
    sets: list[AbstractSet[int]],
    withdrawn: AbstractSet[int],
    question: AbstractSet[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Also where some of those who withdrew are back."""
    here, named = (site(tmp_path_factory.mktemp("site")) for _ in range(2))
    for one in sets:
        if allowed(here, names(*one)):
            check_query(named, [], names(*one))
    query_sets.blind(here.state / "asked", names(*(set(range(21)) - withdrawn)))
    if allowed(here, names(*question)):
        check_query(named, [], names(*question))


@settings(max_examples=100, deadline=None)
@given(sets=st.lists(st.frozensets(st.integers(0, 14)), min_size=1, max_size=5), split=st.integers(0, 14))
def test_one_patient_by_two_blind_ids_in_sets_apart_is_seen_through(sets: list[AbstractSet[int]], split: int) -> None:
    """As after a process that was killed between two files."""
    whole = [frozenset(map(str, one)) for one in sets]
    parts = [
        one - {str(split)} | {f"blind {number % 2}"} if str(split) in one else one for number, one in enumerate(whole)
    ]
    for least in (2, 3, 5):
        if tells_of_few(whole, least):
            assert tells_of_few(parts, least, frozenset({"blind 0", "blind 1"}))


@pytest.mark.parametrize("content", ['{"patients": "p1"}', '{"patients": ["p1"], "withdrawn": [3]}'])
def test_a_set_of_another_form_is_named_and_none_is_changed(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    QuerySet(frozenset({"p1", "p2"})).write(folder / "a.json")
    (folder / "b.json").write_text(content)
    before = (folder / "a.json").read_text()
    with pytest.raises(UserError, match=r"b\.json: 'patients' and 'withdrawn' are not lists of ids; remove it only"):
        query_sets.blind(folder, ["p2"])
    assert (folder / "a.json").read_text() == before


def test_blind_ids_do_not_tell_who_is_who(tmp_path: Path) -> None:
    ids: set[str] = set()
    for number in range(3):
        QuerySet(frozenset(names(*range(9)))).write(tmp_path / f"{number}/a.json")
        query_sets.blind(tmp_path / str(number), [])
        ids |= QuerySet.read(tmp_path / f"{number}/a.json").withdrawn
    assert len(ids) == 27
    assert all(not name.startswith("p") for name in itertools.chain(ids))
