"""A challenger held against the rules, on drawn predictions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from foundation.errors import UserError
from serve.release.comparison import compare
from serve.release.rules import Rules
from tests.serve.release.evaluations import broken, figures


def test_an_equal_challenger_holds_every_rule_and_small_hospitals_are_undefined(tmp_path: Path) -> None:
    both = [figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b")]
    evidence = compare("b", both[1], "a", both[0], Rules(), None)
    assert not evidence.broken
    undefined = [check for check in evidence.checks if check.verdict == "undefined"]
    assert {check.level for check in undefined} == {"tiny"}
    assert all(check.value is None and check.why == "6 patients, of 10 that it takes" for check in undefined)


def test_a_challenger_worse_at_one_hospital_alone_is_broken_there(tmp_path: Path) -> None:
    before = figures(tmp_path / "a", {"all": 1.0})
    after = figures(tmp_path / "b", {"all": 1.6, "south": 0.2})
    evidence = compare("b", after, "a", before, Rules(auroc=1, brier=1), None)
    assert ("no worse", "south") in broken(evidence.checks)
    assert ("no worse", "north") not in broken(evidence.checks)


def test_a_challenger_that_is_not_shown_to_be_no_worse_is_broken_overall(tmp_path: Path) -> None:
    before = figures(tmp_path / "a", {"all": 1.0})
    after = figures(tmp_path / "b", {"all": 0.9})
    assert ("no worse", "all") in broken(compare("b", after, "a", before, Rules(auroc=0.001), None).checks)
    assert broken(compare("b", after, "a", before, Rules(auroc=0.1, brier=0.1), None).checks) <= {
        ("no worse", "north"),
        ("no worse", "south"),
    }


def test_a_challenger_that_is_off_in_the_large_is_broken(tmp_path: Path) -> None:
    evidence = compare("b", figures(tmp_path / "b", {"all": 1.0}, shift=0.3), None, None, Rules(), None)
    assert {level for rule, level in broken(evidence.checks) if rule == "calibrated"} == {"all", "north", "south"}


def test_a_challenger_that_abstains_more_is_broken(tmp_path: Path) -> None:
    before, after = (
        figures(tmp_path / name, {"all": 1.0}, abstained=share) for name, share in (("a", 0.1), ("b", 0.3))
    )
    lost = {("abstains no more", level) for level in ("all", "north", "south")}
    assert broken(compare("b", after, "a", before, Rules(), None).checks) == lost
    assert not broken(compare("a", before, "b", after, Rules(), None).checks)


def test_abstentions_are_compared_patient_by_patient(tmp_path: Path) -> None:
    """So many more that it would lie within the interval of either share by itself."""
    before, after = (
        figures(tmp_path / name, {"all": 1.0}, abstained=share) for name, share in (("a", 0.45), ("b", 0.52))
    )
    rule = "abstains no more, by more than 0.02"
    evidence = compare("b", after, "a", before, Rules(), None)
    (whole,) = (check for check in evidence.checks if check.rule == rule and check.level == "all")
    assert whole.value == pytest.approx(-0.07, abs=0.01)
    assert whole.verdict == "broken"
    assert whole.low is not None and whole.high is not None
    assert whole.high - whole.low < 0.08  # unpaired, of 206 patients: 0.14 of one share alone


def test_a_model_that_tells_of_no_abstentions_is_broken_beside_one_that_does(tmp_path: Path) -> None:
    before, after = (figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b"))
    path = after / "predictions.parquet"
    pd.read_parquet(path).drop(columns="abstained").to_parquet(path)
    evidence = compare("b", after, "a", before, Rules(), None)
    assert [check.why for check in evidence.broken] == ["its evaluation does not tell on whom it abstains"]
    evidence = compare("a", before, "b", after, Rules(), None)
    assert not evidence.broken
    assert "not known of the release in use" in {check.why for check in evidence.checks}


@pytest.mark.parametrize("value", [0.5, None, "yes"])
def test_an_abstention_that_is_none_is_refused(value: Any, tmp_path: Path) -> None:
    before, after = (figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b"))
    path = after / "predictions.parquet"
    table = pd.read_parquet(path).astype({"abstained": object})
    table.loc[table.index[0], "abstained"] = value
    table.assign(abstained=table["abstained"].astype(str if value == "yes" else float)).to_parquet(path)
    with pytest.raises(UserError, match=r"predictions\.parquet: 'abstained' of a test patient is neither 0 nor 1; run"):
        compare("b", after, "a", before, Rules(), None)


def test_patients_whom_the_release_in_use_never_answered_stop_it(tmp_path: Path) -> None:
    before, after = figures(tmp_path / "a", {"all": 1.0}, part=0.5), figures(tmp_path / "b", {"all": 1.0})
    rule = "share of held-out patients whom both answered"
    assert (rule, "all") in broken(compare("b", after, "a", before, Rules(), None).checks)
    assert (rule, "all") not in broken(compare("b", after, "a", before, Rules(paired=0.4), None).checks)


@pytest.mark.parametrize(("column", "value"), [("hospital", "south"), ("hospital", "north"), ("output", "positive")])
def test_a_challenger_that_leaves_a_hospital_or_an_output_out_is_broken(
    column: str, value: str, tmp_path: Path
) -> None:
    before, after = (figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b"))
    path = after / "predictions.parquet"
    table = pd.read_parquet(path)
    more = table.assign(output="severe")
    pd.concat([table[table[column] != value], more]).to_parquet(path)
    pd.concat([table, more]).to_parquet(before / "predictions.parquet")
    checks = compare("b", after, "a", before, Rules(paired=0.3), None).checks
    rule = "share whom the release in use answered"
    lost = {(check.rule.split(", ")[1], check.level) for check in checks if check.verdict == "broken"}
    assert ("positive", value if column == "hospital" else "all") in lost
    assert (rule, "tiny") not in broken(checks)


def test_a_cohort_without_the_held_out_patients_says_nothing_of_subgroups(tmp_path: Path) -> None:
    folder = figures(tmp_path / "a", {"all": 1.0})
    other = SimpleNamespace(name="other", patients=pd.DataFrame(index=["north0", "north1"]))
    with pytest.raises(UserError, match="cohort: other holds 2 of 206 held-out patients of a; give the prepared"):
        compare("a", folder, None, None, Rules(subgroups=["sex"]), other)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auroc", "brier", "error", "calibration", "abstention"])
def test_a_margin_that_everything_holds_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Rules(**{name: float("inf")})


def test_predictions_without_hospitals_are_refused(tmp_path: Path) -> None:
    path = figures(tmp_path / "a", {"all": 1.0}) / "predictions.parquet"
    pd.read_parquet(path).drop(columns="hospital").to_parquet(path)
    with pytest.raises(UserError, match=r"predictions\.parquet: says no hospital of the patients; run python"):
        compare("a", path.parent, None, None, Rules(), None)


def test_subgroups_ask_for_the_cohort(tmp_path: Path) -> None:
    folder = figures(tmp_path / "a", {"all": 1.0})
    with pytest.raises(UserError, match="cohort: not given; rules name subgroups"):
        compare("a", folder, None, None, Rules(subgroups=["sex"]), None)
