"""Small cells, and what would let them be worked out, stay at the site."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.federation.statistics import (
    SiteStatistics,
    from_arrays,
    pool,
    statistics_page,
    suppress,
    to_arrays,
)
from foundation.federation.statistics.contract import Counts, Expression, Known, Numbers, Survival
from foundation.federation.statistics.site import site_statistics
from foundation.statistics.suppression import hide
from tests.foundation.federation.statistics.comparisons import flat


def test_no_small_number_leaves(parts):
    for part in parts:
        told = suppress(part, 8)
        left = flat(told.model_dump(exclude={"sites", "withheld"}))
        for path, value in left.items():
            if "/count" in path or path.startswith("/counts") or "/levels" in path or path.endswith("/patients"):
                assert not (isinstance(value, int) and 0 < value < 8), path
        assert SiteStatistics.model_validate_json(told.model_dump_json()) == told


def test_a_gene_of_few_patients_gives_nothing():
    expression = Expression(unit="tpm", genes=["A", "B", "C"], count=[4, 5, 0], mean=[1.0, 2, 0], m2=[1.0, 2, 0])
    told = suppress(SiteStatistics(sites=["x"], expression=expression), 5)
    assert told.expression.count == [None, 5, 0]
    assert told.expression.mean == told.expression.m2 == [None, 2, 0]
    assert told.withheld == ["x: expression/1 genes"]


def test_few_patients_tell_nothing(parts):
    few = parts[0].model_copy(update={"counts": parts[0].counts.model_copy(update={"patients": 3})})
    counts = suppress(few, 5).counts
    assert set(flat(counts.model_dump()).values()) == {None}


def test_label_of_several_classes_counts_all_but_the_first_as_positive(cohort):
    subtyped = copy.copy(cohort)
    subtyped.patients = cohort.patients.assign(biomarker=np.resize([0.0, 1.0, 2.0, np.nan], len(cohort.patients)))
    counts = site_statistics(subtyped, list(subtyped.patients.index[:8]), names=["counts"]).counts
    assert counts.label["biomarker"] == Known(known=6, positive=4)


def test_labels_and_events_need_enough_on_both_sides():
    def told(known: int, positive: int) -> tuple[int | None, int | None]:
        counts = Counts(
            patients=50, modality={}, combination={}, label={"l": Known(known=known, positive=positive)}, hospital={}
        )
        time = Numbers(count=known, mean=100.0, m2=5.0)
        found = suppress(SiteStatistics(sites=["x"], counts=counts, survival=Survival(events=positive, time=time)), 5)
        assert found.survival.time.count == found.counts.label["l"].known
        assert found.survival.events == found.counts.label["l"].positive
        return found.counts.label["l"].known, found.counts.label["l"].positive

    assert told(20, 10) == (20, 10)
    assert told(20, 0) == (20, 0)
    assert told(20, 20) == (20, 20)
    assert told(20, 2) == told(20, 18) == (20, None)
    assert told(4, 2) == (None, None)


def test_a_single_small_cell_is_not_left_to_a_subtraction():
    assert hide({"a": 20, "b": 9, "c": 2}, [{"a", "b", "c"}], 5) == {"a": 20, "b": None, "c": None}
    assert hide({"a": 20, "b": 9, "c": 2}, [], 5) == {"a": 20, "b": 9, "c": None}
    assert hide({"a": 20, "b": 9, "c": 0}, [{"a", "b", "c"}], 5) == {"a": 20, "b": 9, "c": 0}
    assert hide({"a": 20, "b": 1, "c": 1}, [{"a", "b", "c"}], 5) == {"a": None, "b": None, "c": None}


def test_a_modality_that_few_lack_is_withheld_with_those_who_lack_it():
    counts = Counts(
        patients=19,
        modality={"pathology": 19, "radiology": 16},
        combination={"pathology": 3, "pathology+radiology": 16},
        label={},
        hospital={"x": 19},
    )
    told = suppress(SiteStatistics(sites=["x"], counts=counts), 5)
    assert told.counts.modality == {"pathology": 19, "radiology": None}
    assert told.counts.combination == {"pathology": None, "pathology+radiology": None}
    assert told.withheld == [
        "x: counts/modality/radiology",
        "x: counts/combination/pathology",
        "x: counts/combination/pathology+radiology",
    ]


def test_a_table_that_its_sums_give_away_is_withheld_whole():
    counts = Counts(
        patients=14,
        modality={"pathology": 7, "radiology": 8},
        combination={"pathology": 6, "pathology+radiology": 1, "radiology": 7},
        label={},
        hospital={"x": 14},
    )
    whole = SiteStatistics(sites=["y"], counts=counts)
    told = suppress(whole.model_copy(update={"sites": ["x"]}), 5)
    assert told.counts.modality == counts.modality
    assert told.counts.combination == {}
    assert told.withheld == ["x: counts/combination"]
    assert from_arrays(*to_arrays(told)) == told
    assert "no others" not in statistics_page([told], pool([told]))
    page = statistics_page([told, whole], pool([told, whole]))
    assert "| pathology + radiology, no others | small | 1 | ≥ 1 |" in page


@given(st.lists(st.integers(0, 30), min_size=1, max_size=7), st.integers(2, 8), st.data())
@settings(deadline=None)
def test_withheld_cells_have_other_tables_with_the_same_sums(values, least, data):
    """What is told fits at least one other table: some small cell could hold another number."""
    cells = {f"c{index}": value for index, value in enumerate(values)}
    names = sorted(cells)
    sums = [set(names), *data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1), max_size=3))]
    told = hide(cells, sums, least)
    if not told:
        return
    hidden = [name for name in names if told[name] is None]
    assert {name for name in names if 0 < cells[name] < least} <= set(hidden)
    rows = np.array([[name in part for name in hidden] for part in sums], dtype=float).reshape(len(sums), -1)
    for index, name in enumerate(hidden):
        if 0 < cells[name] < least:
            _, sizes, right = np.linalg.svd(rows)
            free = right[np.count_nonzero(sizes > 1e-9) :]
            assert np.abs(free[:, index]).max(initial=0) > 1e-9
    assert all(sum(cells[name] for name in part & set(hidden)) not in range(1, least) for part in sums[:1])
