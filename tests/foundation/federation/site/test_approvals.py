"""Approval of plans at a site: pinned by digest, for one run, each order in its turn; the ledger tells all of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.plan import RunPlan
from foundation.federation.plan.page import page
from foundation.federation.plan.protection import Clipping, Combination, SiteNoise
from foundation.federation.planning import plan_of
from foundation.federation.plans import main as plans_command
from foundation.federation.policy import Declined
from foundation.federation.site.approvals import APPROVED, DECLINED, RULE, chosen, decide, last_approved, waiting
from foundation.federation.site.config import Site
from foundation.federation.site.gate import OrderType, PolicyGate
from foundation.federation.wire.messages import Order
from tests.foundation.federation.gates import arrived, site_of

WEIGHTS = {"encoder.fusion.patient": np.ones(4, np.float32)}
Asks = Callable[..., PolicyGate]


@pytest.fixture(scope="module")
def cfg(small_cohort: Path) -> DictConfig:
    more = ["sites=[riverside,northgate]", "output=x", "rounds=4", "data.batch_size=8", f"data.folder={small_cohort}"]
    with initialize_config_module("configs", version_base="1.3"):
        return compose("federated", ["experiment=demo", *more])


@pytest.fixture(scope="module")
def plan(cfg) -> RunPlan:
    return plan_of(cfg)


@pytest.fixture
def site(cfg, tmp_path) -> Site:
    return site_of(cfg, tmp_path, approval="owner")


def asks(site: Site, plan: RunPlan, number: int = 1, run: str = "run-1", value: float = 1.0, kind: OrderType = "train"):
    """A gate before an order."""
    weights = {name: array * value for name, array in WEIGHTS.items()}
    return PolicyGate(site, arrived(Order(plan, weights, run, number)), kind)


def answers(gate: PolicyGate) -> None:
    """Lets an order in, and notes an answer to it."""
    gate.admit()
    gate.note("update" if gate.order_type == "train" else "evaluation", "out", None)


def test_a_plan_that_nobody_approved_waits_with_its_page(site: Site, plan: RunPlan):
    with pytest.raises(Declined, match=rf"plan: p-{plan.digest[:12]} awaits this hospital's approval"):
        asks(site, plan).admit()
    assert waiting(site) == [plan]
    decide(site, plan, approve=True)
    assert waiting(site) == []
    asks(site, plan).admit()


def test_no_patient_is_read_before_a_plan_is_approved(site: Site, plan: RunPlan, monkeypatch):
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were read"))
    for kind, number in (("train", 1), ("evaluate", 1), ("statistics", 0)):
        with pytest.raises(Declined, match="awaits this hospital's approval"):
            asks(site, plan, number, kind=kind).admit()


def test_a_plan_that_the_owner_declined_stays_declined(site: Site, plan: RunPlan):
    decide(site, plan, approve=False)
    with pytest.raises(Declined, match="plan: this hospital's owner declined it"):
        asks(site, plan).admit()
    assert waiting(site) == []
    decide(site, plan, approve=True)
    asks(site, plan).admit()


def test_an_approval_is_of_one_plan_to_the_letter(site: Site, plan: RunPlan):
    decide(site, plan, approve=True)
    other = plan.model_copy(update={"steps": plan.steps + 1})
    with pytest.raises(Declined, match="awaits this hospital's approval"):
        asks(site, other).admit()


def test_an_approval_is_for_one_run(site: Site, plan: RunPlan):
    decide(site, plan, approve=True)
    answers(asks(site, plan))
    with pytest.raises(Declined, match="awaits this hospital's approval"):
        asks(site, plan, run="run-2").admit()
    answers(asks(site, plan, number=2))
    decide(site, plan, approve=True)
    answers(asks(site, plan, run="run-2"))


def test_a_plan_whose_approval_is_used_up_waits_only_when_it_is_asked_for_again(site: Site, plan: RunPlan):
    with pytest.raises(Declined):
        asks(site, plan).admit()
    decide(site, plan, approve=True)
    answers(asks(site, plan))
    assert waiting(site) == [], "or action=approve plan=all would let in runs that nobody asked for"
    assert chosen(site, plan.digest[:8]) == plan
    with pytest.raises(Declined, match="awaits this hospital's approval"):
        asks(site, plan, run="run-2").admit()
    assert waiting(site) == [plan]


@pytest.mark.parametrize("decisions", [(True, True), (True, False, True)])
def test_decisions_before_a_run_begins_let_one_run_in_at_most(site: Site, plan: RunPlan, decisions: tuple[bool, ...]):
    for approve in decisions:
        decide(site, plan, approve)
    answers(asks(site, plan))
    with pytest.raises(Declined, match="awaits this hospital's approval"):
        asks(site, plan, run="run-2").admit()


def test_an_approval_counts_from_the_runs_that_a_standing_rule_let_in(site: Site, plan: RunPlan):
    rules = replace(site, policy=site.policy.model_copy(update={"approval": "rules"}))
    for run in ("run-1", "run-2"):
        answers(asks(rules, plan, run=run))
    decide(site, plan, approve=True)
    answers(asks(site, plan, run="run-3"))


def test_plans_that_were_decided_leave_room_for_others(site: Site, plan: RunPlan, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.federation.site.approvals._MOST_WAITING", 1)
    other = plan.model_copy(update={"steps": plan.steps + 1})
    for one in (plan, other):
        with pytest.raises(Declined, match=f"plan: p-{one.digest[:12]} awaits"):
            asks(site, one).admit()
        decide(site, one, approve=False)
    assert waiting(site) == []


def test_a_plan_of_another_release_hides_no_page(site: Site, plan: RunPlan):
    for one in (plan, plan.model_copy(update={"steps": plan.steps + 1})):
        with pytest.raises(Declined):
            asks(site, one).admit()
    decide(site, plan, approve=True)
    (path,) = (site.state / "plans" / "decided").glob("*.json")
    path.write_text(path.read_text().replace('"version":1', '"version":0'))
    assert last_approved(site, plan.task) is None
    assert len(waiting(site)) == 1
    with pytest.raises(UserError, match=r"plans/decided/.*\.json: no plan of this release .*; remove it"):
        chosen(site, plan.digest)


def test_a_run_goes_on_under_the_plan_that_it_began_with(cfg: DictConfig, tmp_path: Path, plan: RunPlan):
    site = site_of(cfg, tmp_path)
    answers(asks(site, plan))
    with pytest.raises(Declined, match="plan: this run began under another one"):
        asks(site, plan.model_copy(update={"steps": plan.steps + 1}), number=2).admit()


def test_a_standing_rule_is_noted_once(cfg: DictConfig, tmp_path: Path, plan: RunPlan):
    for rules in ({"approval": "rules"}, {"approval": "owner", "config_digest": [plan.digest]}):
        site = site_of(cfg, tmp_path / rules["approval"], **rules)
        answers(asks(site, plan))
        gate = asks(site, plan, number=2)
        answers(gate)
        notes = [entry.note for entry in gate.ledger.entries() if entry.kind == "approval"]
        assert notes == [RULE]


def test_each_round_is_answered_in_its_turn_and_to_one_order(cfg: DictConfig, tmp_path: Path, plan: RunPlan):
    site = site_of(cfg, tmp_path)
    answers(asks(site, plan, number=2))
    answers(asks(site, plan, number=2))  # the very same again: the server was killed before it had it
    with pytest.raises(Declined, match="order: round: this round was answered already, to an order with other arrays"):
        asks(site, plan, number=2, value=2.0).admit()
    with pytest.raises(Declined, match="order: round: a later round was answered already"):
        asks(site, plan, number=1).admit()
    answers(asks(site, plan, number=4))
    answers(asks(site, plan, number=1, kind="evaluate"))  # has its own turn
    with pytest.raises(Declined, match="other arrays"):
        asks(site, plan, number=1, value=3.0, kind="evaluate").admit()


def test_a_round_beyond_the_plan_is_none(site: Site, plan: RunPlan):
    with pytest.raises(UserError, match="order: round: beyond the 4 rounds of its plan"):
        asks(site, plan, number=5)
    for kind, number in (("train", 0), ("statistics", 1)):
        with pytest.raises(Declined, match="order: round: training and evaluation are of a round"):
            asks(site, plan, number, kind=kind).admit()


def test_a_hospital_follows_its_own_part_of_the_plan(cfg: DictConfig, tmp_path: Path, configure):
    held = configure("sites=[riverside,northgate]", "data.test_hospitals=[riverside]", "output=x", command="federated")
    with pytest.raises(Declined, match="plan: this hospital is held out, and evaluates only"):
        asks(site_of(held, tmp_path), plan_of(held)).admit()
    with pytest.raises(Declined, match="plan: this hospital has no part in it"):
        asks(site_of(cfg, tmp_path, "lakeview"), plan_of(cfg)).admit()


def test_patients_who_change_in_the_middle_of_a_run_end_it(cfg: DictConfig, tmp_path: Path, plan: RunPlan):
    site = site_of(cfg, tmp_path)
    answers(asks(site, plan))
    assert site.simulated is not None
    site.simulated.data.split_seed = 5
    with pytest.raises(Declined, match="split: this hospital's patients changed since the run began"):
        asks(site, plan, number=2).admit()


def test_the_ledger_tells_who_was_asked_what_about_whom(cfg: DictConfig, tmp_path: Path, plan: RunPlan):
    site = site_of(cfg, tmp_path)
    gate = asks(site, plan)
    answers(gate)
    order, approval, update = gate.ledger.entries()[-3:]
    assert [entry.kind for entry in (order, approval, update)] == ["order", "approval", "update"]
    assert {entry.plan for entry in (order, approval, update)} == {plan.digest}
    assert order.steps == plan.steps and len(update.split) == len(update.query) == 64
    gate.fail(MemoryError("a patient's row"))
    failed = gate.ledger.entries()[-1]
    assert (failed.kind, failed.note, failed.plan) == ("failure", "MemoryError", plan.digest)
    assert verify(site.ledger) == []


def test_a_plan_that_was_changed_where_it_waits_is_refused(site: Site, plan: RunPlan):
    with pytest.raises(Declined):
        asks(site, plan).admit()
    (path,) = (site.state / "plans").glob("*.json")
    path.write_text(path.read_text().replace('"rounds":4', '"rounds":5'))
    with pytest.raises(UserError, match="was changed since it came"):
        waiting(site)


def test_the_page_says_what_is_asked_and_what_is_new(plan: RunPlan):
    text = page(plan, "riverside", "nothing counts it")
    for part in ("What is asked", "What leaves", "Under which protection", "What it spends", "none of this task was"):
        assert part in text
    assert "4 rounds of 16 steps" in text and "the server sees this hospital's own update" in text
    longer = plan.model_copy(update={"rounds": 9})
    assert "rounds: 4 before, 9 now" in page(longer, "riverside", "", plan)
    assert "nothing" in page(plan, "riverside", "", plan)


def test_the_page_names_all_that_training_sends(plan: RunPlan):
    noise = SiteNoise(place="site", noise_multiplier=1.0, clipping=Clipping(norm=1.0))
    for changed, losses in (({}, True), ({"noise": noise}, False)):
        text = page(plan.model_copy(update=changed), "riverside", "")
        assert ("losses of training, as they are" in text) == losses and "SCAFFOLD" not in text
    told = noise.model_copy(update={"training_metrics": True})
    scaffold = plan.model_copy(update={"noise": told, "strategy": Combination(kind="scaffold", scaffold=True)})
    text = page(scaffold, "riverside", "")
    assert "losses of training, as they are" in text and "control variate a round (SCAFFOLD)" in text


def typed(monkeypatch: pytest.MonkeyPatch, *settings: str) -> None:
    monkeypatch.setattr("sys.argv", ["plans", *settings])
    plans_command()


def test_an_owner_decides_at_the_command(site: Site, plan: RunPlan, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "policy.yaml").write_text("approval: owner\n")
    content = {"name": "riverside", "policy": "policy.yaml", "ledger": "riverside.jsonl", "state": "."}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    where = f"site={tmp_path / 'site.yaml'}"
    with pytest.raises(Declined):
        asks(site, plan).admit()
    typed(monkeypatch, where)
    assert f"{plan.digest[:16]}  pretrain, 4 rounds of 16 steps" in capsys.readouterr().out
    typed(monkeypatch, where, "action=approve", f"plan=p-{plan.digest[:6]}")
    said = capsys.readouterr().out
    assert "What leaves" in said and "approved for one run; the ledger says so" in said
    asks(site, plan).admit()
    typed(monkeypatch, where, "action=decline", f"plan=p-{plan.digest[:6]}")
    with pytest.raises(Declined, match="owner declined it"):
        asks(site, plan).admit()
    notes = [entry.note for entry in asks(site, plan).ledger.entries() if entry.kind == "approval"]
    assert notes == [APPROVED, DECLINED]
    with pytest.raises(UserError, match=r"plan: 0 plans at riverside begin with 'ffff"):
        chosen(site, "f" * 20)
