"""A plan that recurs: approved once, within bounds that the hospital's own ledger and lists hold."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.ledger.spent import Spent
from foundation.federation.plan import RunPlan
from foundation.federation.plan.page import page
from foundation.federation.planning import plan_of
from foundation.federation.policy import Declined
from foundation.federation.site import standing as standing_module
from foundation.federation.site.approvals import decide, waiting
from foundation.federation.site.config import Site
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.standing import check_bounds
from foundation.federation.site.sums import sums_here
from foundation.federation.wire.messages import Order
from foundation.federation.wire.sums import with_question
from foundation.lineage import site_list
from foundation.patient_list import write_patients
from tests.foundation.federation.gates import arrived, site_of

WEIGHTS = {"encoder.fusion.patient": np.ones(4, np.float32)}
BOUNDS = "{new_patients:3,rounds_a_month:4}"


def composed(cohort: Path, *more: str) -> DictConfig:
    settings = ["sites=[riverside,northgate]", "output=x", "rounds=2", "data.batch_size=8", f"data.folder={cohort}"]
    with initialize_config_module("configs", version_base="1.3"):
        return compose("federated", ["experiment=demo", *settings, *more])


@pytest.fixture(scope="module")
def plan(small_cohort: Path) -> RunPlan:
    return plan_of(composed(small_cohort, f"standing={BOUNDS}"))


@pytest.fixture
def site(small_cohort: Path, tmp_path: Path) -> Site:
    return site_of(composed(small_cohort), tmp_path, approval="owner")


def gate(site: Site, plan: RunPlan, run: str, number: int = 1) -> PolicyGate:
    return PolicyGate(site, arrived(Order(plan, WEIGHTS, run, number)), "train")


def trains(site: Site, plan: RunPlan, run: str, number: int = 1, all_but: int = 0) -> None:
    """Lets a round in, notes its update, and keeps its list, from which some are left out as if they came later."""
    one = gate(site, plan, run, number)
    one.admit()
    one.note("update", "out", None)
    patients = one.task.patients("train")
    write_patients(site_list(site.ledger.parent, run), patients[all_but:], [], [site.name])


def test_one_approval_is_for_every_run_with_enough_new_patients(site: Site, plan: RunPlan) -> None:
    with pytest.raises(Declined, match=f"plan: p-{plan.approved_as[:12]} awaits this hospital's approval"):
        gate(site, plan, "run-1").admit()
    assert waiting(site) == [plan]
    decide(site, plan, approve=True)
    assert waiting(site) == []
    trains(site, plan, "run-1", all_but=3)
    trains(site, plan, "run-2")
    with pytest.raises(Declined, match="standing: fewer than 3 new patients since the runs before"):
        gate(site, plan, "run-3").admit()
    decide(site, plan, approve=False)
    with pytest.raises(Declined, match="this hospital's owner declined it"):
        gate(site, plan, "run-2", 2).admit()


@pytest.mark.parametrize(("kind", "number"), [("statistics", 0), ("evaluate", 1)])
def test_a_hospital_that_sits_a_run_out_is_asked_nothing_else_in_it(
    kind: Any, number: int, site: Site, small_cohort: Path
) -> None:
    asked = plan_of(composed(small_cohort, f"standing={BOUNDS}", "statistics=[counts]"))
    decide(site, asked, approve=True)
    PolicyGate(site, arrived(Order(asked, WEIGHTS, "run-1", number)), kind).admit()
    trains(site, asked, "run-1")
    PolicyGate(site, arrived(Order(asked, WEIGHTS, "run-1", 1)), "evaluate").admit()
    with pytest.raises(Declined, match="fewer than 3 new"):
        PolicyGate(site, arrived(Order(asked, WEIGHTS, "run-2", number)), kind).admit()


@pytest.mark.parametrize("left", [0, 2])
def test_patients_of_any_earlier_run_are_not_new(left: int, site: Site, plan: RunPlan) -> None:
    decide(site, plan, approve=True)
    trains(site, plan, "run-1")
    write_patients(site_list(site.ledger.parent, "run-1"), gate_patients(site, plan)[left:], [], [site.name])
    with pytest.raises(Declined, match="fewer than 3 new"):
        gate(site, plan, "run-2").admit()


def gate_patients(site: Site, plan: RunPlan) -> list[str]:
    one = gate(site, plan, "run-1")
    one.admit()
    return one.task.patients("train")


def test_who_joins_or_leaves_changes_no_approval_and_all_else_does(small_cohort: Path, plan: RunPlan) -> None:
    more = composed(small_cohort, f"standing={BOUNDS}", "sites=[riverside,northgate,lakeview]")
    fewer = composed(small_cohort, f"standing={BOUNDS}", "sites=[riverside]")
    assert plan_of(more).approved_as == plan_of(fewer).approved_as == plan.approved_as
    assert len({plan_of(more).digest, plan_of(fewer).digest, plan.digest}) == 3
    for other in ("rounds=3", "standing={new_patients:2,rounds_a_month:4}", "optimizer.learning_rate=0.1"):
        settings = [] if other.startswith("standing") else [f"standing={BOUNDS}"]
        assert plan_of(composed(small_cohort, *settings, other)).approved_as != plan.approved_as
    once = plan_of(composed(small_cohort))
    assert once.approved_as == once.digest and "standing" not in once.values()


def test_a_hospital_that_the_approval_does_not_name_is_refused(site: Site, small_cohort: Path) -> None:
    named = "standing={new_patients:3,rounds_a_month:4,hospitals:[riverside,lakeview]}"
    asked = plan_of(composed(small_cohort, named))
    decide(site, asked, approve=True)
    with pytest.raises(Declined, match="standing: a hospital takes part that the approval does not name"):
        gate(site, asked, "run-1").admit()
    fits = plan_of(composed(small_cohort, named, "sites=[riverside]"))
    gate(site, fits, "run-1").admit()


def test_shares_of_noise_get_no_thinner_by_hospitals_that_no_approval_names(small_cohort: Path) -> None:
    shares = ["privacy=distributed", "secure=secagg_plus", "sites=[riverside,northgate,lakeview]"]
    with pytest.raises(UserError, match="standing.hospitals: not given, and shares of noise are as thin"):
        plan_of(composed(small_cohort, f"standing={BOUNDS}", *shares))
    named = f"standing={BOUNDS[:-1]},hospitals:[riverside,northgate,lakeview]}}"
    assert plan_of(composed(small_cohort, named, *shares)).standing is not None


def test_rounds_of_a_month_are_counted_over_runs_and_each_once(
    site: Site, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(site, plan, approve=True)
    for run in ("run-1", "run-2"):
        write_patients(site_list(site.ledger.parent, run), [], [], [site.name])  # so that everybody is new
        for number in (1, 2):
            one = gate(site, plan, run, number)
            one.admit()
            one.note("update", "out", None)
    gate(site, plan, "run-2", 2).admit()  # the same round again: the server was killed
    with pytest.raises(Declined, match="standing: rounds_a_month: 4 rounds have left in the last 30 days"):
        gate(site, plan, "run-3").admit()

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=31)

    monkeypatch.setattr(standing_module, "datetime", Later)
    gate(site, plan, "run-3").admit()


@pytest.mark.parametrize(
    ("after", "words"), [(None, "cannot say what it spends"), (Spent(3, 1e-5), "3 would be spent within a year, 2")]
)
def test_epsilon_of_a_year_is_held(after: Spent | None, words: str, site: Site, small_cohort: Path) -> None:
    asked = plan_of(composed(small_cohort, "standing={new_patients:3,rounds_a_month:4,epsilon_a_year:2}"))
    with pytest.raises(Declined, match=f"standing: epsilon_a_year: .*{words}"):
        check_bounds(site, asked, "run-1", 1, [], ["a"], after)
    check_bounds(site, asked, "run-1", 1, [], ["a"], Spent(1.5, 1e-5))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"limits": {"rounds_a_month": 3}}, "limits.rounds_a_month: 4 asked, at most 3 allowed"),
        ({"limits": {"epsilon_a_year": 1.0}}, "limits.epsilon_a_year: no bound asked, at most 1 allowed"),
        ({"patients": {"new": 5}}, "patients.new: 3 asked, at least 5 required"),
    ],
)
def test_the_policy_bounds_what_may_be_asked(
    rules: dict[str, Any], words: str, plan: RunPlan, small_cohort: Path, tmp_path: Path
) -> None:
    here = site_of(composed(small_cohort), tmp_path, **rules)
    with pytest.raises(Declined, match=words):
        gate(here, plan, "run-1").admit()


def test_a_list_of_an_earlier_run_that_is_gone_stops_the_site(site: Site, plan: RunPlan) -> None:
    decide(site, plan, approve=True)
    trains(site, plan, "run-1")
    site_list(site.ledger.parent, "run-1").unlink()
    with pytest.raises(UserError, match="missing; restore it: without it nobody can tell which patients are new"):
        gate(site, plan, "run-2").admit()


def test_the_word_that_enough_is_new_holds_no_number(site: Site, plan: RunPlan) -> None:
    decide(site, plan, approve=True)

    def asked(run: str) -> PolicyGate:
        order = with_question(Order(plan, {}, run, 0), "new", {}, {})
        return PolicyGate(site, arrived(order), "sums")

    first = asked("run-1")
    first.admit()
    word = sums_here(first, None)
    assert (dict(word.reply.update), word.reply.metrics, word.reply.samples) == ({}, {}, {})
    trains(site, plan, "run-1")
    again = asked("run-2")
    again.admit()
    with pytest.raises(Declined, match="fewer than 3 new"):
        sums_here(again, None)


def test_the_word_is_said_in_the_open_under_masks_and_noise(small_cohort: Path, tmp_path: Path) -> None:
    sites, here = "sites=[riverside,northgate,lakeview]", site_of(composed(small_cohort), tmp_path)
    for protection in (["secure=secagg_plus"], ["privacy=local"]):
        asked = plan_of(composed(small_cohort, f"standing={BOUNDS}", sites, *protection))
        order = with_question(Order(asked, {}, "run-1", 0), "new", {}, {})
        one = PolicyGate(here, arrived(order), "sums")
        one.admit()
        assert dict(sums_here(one, None).reply.update) == {}


def test_a_site_that_tells_nothing_says_no_word(plan: RunPlan, small_cohort: Path, tmp_path: Path) -> None:
    here = site_of(composed(small_cohort), tmp_path, statistics=["counts"])
    order = with_question(Order(plan, {}, "run-1", 0), "new", {}, {})
    with pytest.raises(Declined, match="statistics: 'new' is not allowed here"):
        PolicyGate(here, arrived(order), "sums").admit()


def test_the_page_says_that_it_recurs(plan: RunPlan) -> None:
    text = page(plan, "riverside", "nothing")
    assert "one approval is for every further run, until it is declined" in text
    assert "a run asks for 3 distinct new patients here" in text and "at most 4 rounds leave in any 30 days" in text


def test_a_hospital_that_is_held_out_reads_that_a_later_run_may_let_it_train(small_cohort: Path) -> None:
    held_out = ["sites=[riverside,northgate]", "data.test_hospitals=[northgate]"]
    once = page(plan_of(composed(small_cohort, *held_out)), "northgate", "nothing")
    again = page(plan_of(composed(small_cohort, *held_out, f"standing={BOUNDS}")), "northgate", "nothing")
    assert "one evaluation, no training" in once and "a difference of weights a round" not in once
    assert "no training" not in again and "2 rounds of" in again and "a difference of weights a round" in again
    assert "whether that asks this hospital to train, as below, or to be held out and evaluate once" in again
