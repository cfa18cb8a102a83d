import json

import pandas as pd
import pytest

from foundation.data.characteristics import characteristics

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


def test_a_total_does_not_tell_the_one_hospital_that_is_hidden():
    many, few = table([50.0] * 6, ["F"] * 6, [1.0] * 6), table([50.0] * 2, ["F"] * 2, [1.0] * 2)
    made = characteristics({"north": many, "south": few}, COLUMNS, [], {}, synthetic=False)
    assert made["hospitals"]["north"]["sex"] == {"F": 6} and made["all"]["sex"] == {"F": None}


def test_a_label_of_many_values_is_a_quantity():
    rows = table([50.0] * 11, ["F"] * 11, [float(at) for at in range(11)])
    made = characteristics({"north": rows}, [], ["mutant"], {}, synthetic=False)
    assert made["hospitals"]["north"] == {"mutant": {"value": 5.0, "low": 2.5, "high": 7.5, "n": 11}}


def test_a_cohort_without_records_has_outcomes_alone():
    rows = table([50.0] * 6, ["F"] * 6, [1.0] * 6).drop(columns="record_values")
    assert characteristics({"north": rows}, COLUMNS, ["mutant"], {}, synthetic=False)["all"] == {"mutant": {"1": 6}}
