import json

import numpy as np
import pandas as pd
import pytest

from foundation.data.characteristics import characteristics
from foundation.statistics.suppression import determined

COLUMNS = [("age", "continuous"), ("sex", "categorical")]


def table(ages: list[float | None], sexes: list[str | None], labels: list[float]) -> pd.DataFrame:
    records = [
        json.dumps({key: value for key, value in (("age", age), ("sex", sex)) if value is not None})
        for age, sex in zip(ages, sexes, strict=True)
    ]
    days = [100.0 * (at + 1) for at in range(len(ages))]
    return pd.DataFrame({"record_values": records, "mutant": labels, "event": labels, "days": days})


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    north = table([40, 50, 60, 70, 80, None], ["F", "F", "F", "F", "F", None], [1, 1, 1, 1, 1, 0])
    south = table([30, 35], ["M", "F"], [0, float("nan")])
    return {"north": north, "south": south}


SURVIVAL = {"event": "event", "time": "days"}


def test_medians_quartiles_and_counts_by_hospital_and_over_all(tables):
    made = characteristics(tables, COLUMNS, ["mutant"], SURVIVAL, synthetic=True)
    assert list(made["hospitals"]) == ["north", "south"]
    assert made["hospitals"]["north"]["age"] == {"value": 60.0, "low": 50.0, "high": 70.0, "n": 5}
    assert made["hospitals"]["north"]["sex"] == {"F": 5, "unknown": 1}
    assert made["hospitals"]["south"]["mutant"] == {"0": 1, "unknown": 1}
    assert made["all"]["age"] == {"value": 50.0, "low": 37.5, "high": 65.0, "n": 7}
    assert made["all"]["sex"] == {"F": 6, "M": 1, "unknown": 1}
    assert made["all"]["days"] == {"value": 250.0, "low": 175.0, "high": 425.0, "n": 8}


def test_numbers_of_fewer_than_five_persons_are_left_out(tables):
    made = characteristics(tables, COLUMNS, ["mutant"], SURVIVAL, synthetic=False)
    assert made["hospitals"]["north"]["sex"] == {"F": None, "unknown": None}  # six patients less five would be one
    assert made["hospitals"]["north"]["event"] == {"0": None, "1": None}
    assert made["hospitals"]["south"]["age"] == {"value": None, "low": None, "high": None, "n": None}
    assert made["hospitals"]["south"]["sex"] == {"F": None, "M": None}


def test_quartiles_are_told_where_each_quarter_is_five_persons_or_more():
    for count, told in ((5, False), (19, False), (20, True)):
        rows = table([40.0 + at for at in range(count)], ["F"] * count, [1.0] * count)
        age = characteristics({"north": rows}, COLUMNS, [], {}, synthetic=False)["hospitals"]["north"]["age"]
        assert age["n"] == count
        assert (age["value"], age["low"], age["high"]) == ((49.5, 44.75, 54.25) if told else (None, None, None))


def test_a_total_does_not_tell_the_one_hospital_that_is_hidden():
    many, few = table([50.0] * 6, ["F"] * 6, [1.0] * 6), table([50.0] * 2, ["F"] * 2, [1.0] * 2)
    made = characteristics({"north": many, "south": few}, COLUMNS, [], {}, synthetic=False)
    assert made["hospitals"]["north"]["sex"] == {"F": 6} and made["all"]["sex"] == {"F": None}


def test_a_label_of_many_values_is_a_quantity():
    rows = table([50.0] * 11, ["F"] * 11, [float(at) for at in range(11)])
    made = characteristics({"north": rows}, [], ["mutant"], {}, synthetic=True)
    assert made["hospitals"]["north"] == {"mutant": {"value": 5.0, "low": 2.5, "high": 7.5, "n": 11}}


def test_a_cohort_without_records_has_outcomes_alone():
    rows = table([50.0] * 6, ["F"] * 6, [1.0] * 6).drop(columns="record_values")
    assert characteristics({"north": rows}, COLUMNS, ["mutant"], {}, synthetic=False)["all"] == {"mutant": {"1": 6}}


def grades(*counts: tuple[str, int]) -> pd.DataFrame:
    values = [value for value, count in counts for _ in range(count)]
    return pd.DataFrame({"record_values": [json.dumps({"grade": value}) for value in values]})


GRADE = [("grade", "categorical")]


def test_hidden_counts_do_not_follow_from_their_sum():
    made = characteristics({"north": grades(("a", 10), ("b", 1), ("c", 1))}, GRADE, [], {}, synthetic=False)
    assert made["all"]["grade"] == {"a": None, "b": None, "c": None}  # else b and c were two together: one each


def test_totals_of_values_called_like_quartiles_tell_nobody():
    parts = {"north": grades(("low", 14), ("high", 6)), "south": grades(("low", 2), ("high", 8))}
    assert characteristics(parts, GRADE, [], {}, synthetic=False)["all"]["grade"] == {"low": None, "high": None}


def test_totals_do_not_tell_few_of_two_hospitals():
    parts = {"north": grades(("a", 1), ("b", 9)), "south": grades(("a", 1), ("b", 9)), "west": grades(("a", 9))}
    assert characteristics(parts, GRADE, [], {}, synthetic=False)["all"]["grade"] == {"a": None, "b": None}


def test_totals_of_many_small_hospitals_are_told():
    parts = {f"h{at}": grades(("a", 2), ("b", 3)) for at in range(20)}
    assert characteristics(parts, GRADE, [], {}, synthetic=False)["all"]["grade"] == {"a": 40, "b": 60}


def test_no_small_count_follows_from_what_is_told():
    rng = np.random.default_rng(0)
    for _ in range(60):
        drawn = rng.integers(0, 9, (4, 4))
        parts = {f"h{h}": grades(*zip("abcd", map(int, row), strict=True)) for h, row in enumerate(drawn) if row.any()}
        made = characteristics(parts, GRADE, [], {}, synthetic=False)
        told = {name: cells["grade"] for name, cells in made["hospitals"].items()}
        hidden = [(name, value) for name, cells in told.items() for value, count in cells.items() if count is None]
        sums = [{cell for cell in hidden if cell[0] == name} for name in told]
        sums += [{c for c in hidden if c[1] == value} for value, n in made["all"]["grade"].items() if n is not None]
        for name, value in determined(hidden, sums):
            assert drawn[int(name[1:]), "abcd".index(value)] >= 5 or sum(cell[0] == name for cell in hidden) == 1


def test_the_number_behind_a_median_over_all_does_not_tell_that_of_one_hospital():
    many, few = table([50.0] * 20, ["F"] * 20, [1.0] * 20), table([60.0] * 3 + [None] * 7, ["F"] * 10, [1.0] * 10)
    made = characteristics({"north": many, "south": few}, COLUMNS, [], {}, synthetic=False)
    assert made["all"]["age"] == {"value": 50.0, "low": 50.0, "high": 50.0, "n": None}


def test_a_quantity_stays_one_at_a_hospital_of_few_patients():
    many = pd.DataFrame({"psa": [at / 7 for at in range(40)]})
    made = characteristics({"north": many, "south": many[:3]}, [], ["psa"], {}, synthetic=False)
    assert made["hospitals"]["south"]["psa"] == {"value": None, "low": None, "high": None, "n": None}
