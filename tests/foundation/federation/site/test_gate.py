"""What a site lets in at its front gate, whatever the run's config promises."""

import sys
from collections.abc import Callable

import pytest

from foundation.errors import UserError
from foundation.federation.policy import Declined, SitePolicy
from foundation.federation.site.config import Site
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import Order, pack_order, unpack_order
from foundation.release import installed_release

MASKED_ALONE = {"privacy": {"secure_aggregation": True}}


@pytest.fixture
def gate(configure, tmp_path) -> Callable[..., PolicyGate]:
    def made(*overrides: str, masked: bool, **rules) -> PolicyGate:
        cfg = configure("sites=[riverside,northgate]", f"output={tmp_path}", *overrides, command="federated")
        order = unpack_order(pack_order(Order(cfg, {}, "run-1", installed_release(), 1, 0)))
        policy = SitePolicy.model_validate(rules)
        site = Site("riverside", None, policy, tmp_path / "ledger.jsonl", tmp_path, {})
        return PolicyGate(site, order, "train", masked=masked)

    return made


def test_an_order_for_a_masked_update_passes_where_nothing_else_may_leave(gate):
    gate("secure=secagg_plus", masked=True, **MASKED_ALONE).admit()


def test_a_config_that_promises_masks_does_not_open_an_update(gate):
    with pytest.raises(Declined, match="secure: the run's config masks updates, and this order asks for one in the op"):
        gate("secure=secagg_plus", masked=False).admit()


def test_a_site_that_asks_for_masks_declines_a_run_without(gate):
    with pytest.raises(Declined, match=r"privacy\.secure_aggregation: required here, and the run does without"):
        gate(masked=False, **MASKED_ALONE).admit()


def test_a_task_that_is_not_allowed_is_declined_before_any_patient_is_read(gate, monkeypatch):
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were read"))
    with pytest.raises(Declined, match="tasks: 'pretrain' is not allowed here; allowed: evaluate"):
        gate(masked=False, tasks=["evaluate"]).admit()


@pytest.mark.parametrize("sent", ["[os]", "antigravity", "null", "5", "{_target_: [antigravity]}", "{_target_: null}"])
def test_a_federated_task_of_another_shape_is_refused_in_one_line_and_not_imported(gate, sent):
    with pytest.raises(UserError, match="federated_task|targets"):
        gate("~federated_task", f"+federated_task={sent}", masked=False).admit()
    assert "antigravity" not in sys.modules
