"""Banks at a site: its policy decides, its ledger counts."""

from collections.abc import Callable
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.federation.ledger.spent import spent_by_run
from foundation.federation.site.components import privacy_of
from foundation.federation.site.extension import with_extension
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.digest import digest_of_weights
from foundation.federation.wire.messages import Reply
from pretrain.federated.bank import embeddings
from tests.foundation.federation.gates import gate_of, site_of
from tests.foundation.federation.secure_sites import (
    a_task,  # noqa: F401 - a fixture for every test here
)
from tests.pretrain.federated.bank_rounds import HOSPITALS, rows, settings


@pytest.fixture
def gate(configure, tmp_path) -> Callable[..., PolicyGate]:
    """A gate that has let in an order to evaluate."""

    def made(*overrides: str, site: str = "riverside", **rules) -> PolicyGate:
        cfg = configure("bank=gaussian", f"output={tmp_path}", *overrides, command="federated")
        cfg.sites = HOSPITALS
        found = gate_of(site_of(cfg, tmp_path, site, **{"shared_embeddings": True} | rules), cfg, "evaluate")
        found.admit()
        return found

    return made


LOCAL = ["privacy=local", "privacy.noise_multiplier=4.0"]


def test_updates_and_embeddings_are_added_for_the_same_neighbours(gate):
    at = gate(*LOCAL)
    for kind in ("update", "update", "embeddings"):
        at.ledger.append(kind, "out", run="run-1")
    updates, bank = privacy_of(at.order.plan), settings()
    assert at.spent(embeddings=1) == updates.spent(2, replaced=True) + bank.spent(2)
    assert at.spent(updates=1) == updates.spent(3, replaced=True) + bank.spent(1)
    at.admit_extension()
    reply = with_extension(at, Reply("riverside"), rows())
    entry = at.ledger.entries()[-1]
    assert (entry.epsilon, entry.delta) == (at.spent().epsilon, at.spent().delta) and entry.delta == 2e-5
    assert entry.digest == digest_of_weights(rows()) and entry.samples == {"genomics": 3, "pathology": 3}
    assert entry.policy == at.site.policy.digest and reply.facts["head"] == entry.hash
    assert reply.extension.keys() == {"pathology", "genomics"}


def test_without_noise_on_updates_the_ledger_counts_the_bank_alone_and_says_so(gate):
    at = gate()
    at.admit_extension()
    for releases in (1, 2):
        with_extension(at, Reply("riverside"), rows())
        assert spent_by_run(at.ledger.entries())["run-1"].epsilon == pytest.approx(settings().spent(releases).epsilon)
    assert at.ledger.entries()[-1].note == "epsilon is that of the bank alone: nothing counts what updates tell"
    assert at.spent(updates=1) is None


def budget(epsilon: float, delta: float) -> dict[str, Any]:
    """Rules with one that lets evaluations leave, with which embeddings travel."""
    return {"budget": {"epsilon": epsilon, "delta": delta, "exact": True}}


@pytest.mark.parametrize(
    ("overrides", "rules", "said"),
    [
        ([], {"shared_embeddings": False}, "shared_embeddings: embeddings of patients do not leave this site"),
        ([], budget(100, 1e-3), "budget: .* the run cannot say what it spends"),
        (LOCAL, budget(7.9, 1e-3), r"budget.epsilon: 8 would be spent over all runs"),
        (
            [*LOCAL, "standing={new_patients:1,rounds_a_month:4,epsilon_a_year:7.9}"],
            {},
            "standing: epsilon_a_year: 8 would be spent within a year, 7.9 approved",
        ),
        (LOCAL, budget(100, 1e-6), r"budget.delta: 1e-05 would be spent"),
        (
            [],
            {"privacy": {"embeddings": {"min_noise_multiplier": 0.7}}},
            "embeddings.min_noise_multiplier: 0.6[0-9]* offered",
        ),
        ([], {"patients": {"training": 999}}, "patients.training: fewer than 999"),
        (["rounds=1"], {"limits": {"rounds": 1}}, "limits.rounds: 1 releases of embeddings have left"),
        (["bank.epsilon=null", "bank.noise=1e-4"], {}, "bank.noise: protects so little that no epsilon can be told"),
    ],
)
def test_what_a_policy_forbids_does_not_leave(gate, overrides, rules, said):
    at = gate(*overrides, **rules)
    if "limits" in rules:
        at.ledger.append("embeddings", "out", run="run-1")
    before = len(at.ledger.entries())
    reply = Reply("riverside")
    with pytest.raises(UserError, match=said):
        at.admit_extension()
        with_extension(at, reply, rows())
    assert (reply.extension, len(at.ledger.entries())) == ({}, before)


def test_a_site_gives_no_fewer_rows_than_its_policy_tells_counts_of(gate, monkeypatch):
    least = []
    monkeypatch.setattr(embeddings, "release", lambda cfg, site, weights, settings, *_: least.append(settings.least))
    for at in (gate(patients={"cell": 25}), gate(patients={"cell": 2}, site="lakeview")):
        with pytest.raises(UserError, match=r"bank\.least: fewer than"):
            at.extension.after_evaluation({}, at.admit_extension())
    assert least == [25, 10]
