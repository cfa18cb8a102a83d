"""Statistics on their way, and read again."""

import json

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.statistics import (
    from_arrays,
    suppress,
    to_arrays,
)


def test_packed_and_read_again_is_the_same(parts, pooled):
    for told in (*parts, suppress(parts[0], 8), pooled):
        arrays, texts = to_arrays(told)
        assert all(value.dtype == np.float64 for value in arrays.values())
        assert from_arrays(arrays, texts) == told


def test_a_policy_drops_statistics_by_name(parts):
    told = suppress(parts[0], 8)
    left = told.only(["counts", "stain"])
    assert left.names == ("counts", "stain")
    assert all(cell.startswith("riverside: counts") for cell in left.withheld)
    texts = {name: text for name, text in to_arrays(told)[1].items() if name in ("about", "counts", "stain")}
    assert from_arrays({}, texts) == left


def test_what_a_site_sends_is_checked(parts):
    arrays, texts = to_arrays(parts[0])
    with pytest.raises(UserError, match="'expression.mean' is missing"):
        from_arrays({name: value for name, value in arrays.items() if name != "expression.mean"}, texts)
    with pytest.raises(UserError, match="unreadable in what a site sent"):
        from_arrays(arrays, {**texts, "counts": "{"})
    with pytest.raises(UserError, match="'about' is missing"):
        from_arrays(arrays, {})
    for wrong, message in (
        ({"expression.m2": -arrays["expression.m2"]}, "greater than or equal to 0"),
        ({"expression.mean": np.full_like(arrays["expression.mean"], np.inf)}, "finite"),
        ({"expression.count": arrays["expression.count"][1:]}, "values for"),
        ({"expression.count": np.full_like(arrays["expression.count"], np.nan)}, "withheld together"),
    ):
        with pytest.raises(UserError, match=rf"statistics of riverside: .*{message}"):
            from_arrays({**arrays, **wrong}, texts)
    negative = json.dumps({**json.loads(texts["survival"]), "events": -1})
    with pytest.raises(UserError, match="survival.events"):
        from_arrays(arrays, {**texts, "survival": negative})


@pytest.mark.attack
@pytest.mark.parametrize(
    "about",
    [
        "5",
        "[]",
        '{"sites": 5, "withheld": []}',
        '{"sites": ["a"], "withheld": 5}',
        "[" * 99_999,
        '{"sites": ["\\ud800"], "withheld": []}',
    ],
)
def test_attack_by_statistics_of_no_form(parts, about):
    arrays, texts = to_arrays(parts[0])
    with pytest.raises(UserError, match="statistics: unreadable in what a site sent"):
        from_arrays(arrays, {**texts, "about": about})


@pytest.mark.attack
def test_attack_by_numbers_whose_squares_overflow(parts):
    arrays, texts = to_arrays(parts[0])
    record = json.loads(texts["survival"])
    record["time"]["mean"] = 1e300
    for changed in (
        ({**arrays, "expression.mean": np.full_like(arrays["expression.mean"], 1e300)}, texts),
        (arrays, {**texts, "survival": json.dumps(record)}),
    ):
        with pytest.raises(UserError, match="statistics: unreadable in what a site sent"):
            from_arrays(*changed)
