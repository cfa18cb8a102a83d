"""What a site lets in at its front gate, whatever the run's config promises."""

from collections.abc import Callable

import pytest

from foundation.federation.policy import Declined
from foundation.federation.site.gate import PolicyGate
from tests.foundation.federation.gates import gate_of, site_of

MASKED_ALONE = {"privacy": {"secure_aggregation": True}}


@pytest.fixture
def gate(configure, tmp_path) -> Callable[..., PolicyGate]:
    def made(*overrides: str, masked: bool, **rules) -> PolicyGate:
        cfg = configure("sites=[riverside,northgate]", f"output={tmp_path}", *overrides, command="federated")
        return gate_of(site_of(cfg, tmp_path, **rules), cfg, masked=masked)

    return made


def test_an_order_for_a_masked_update_passes_where_nothing_else_may_leave(gate):
    gate("secure=secagg_plus", masked=True, **MASKED_ALONE).admit()


def test_a_plan_that_promises_masks_does_not_open_an_update(gate):
    with pytest.raises(Declined, match="secure: masks are asked for in the order or in its plan, and not in the other"):
        gate("secure=secagg_plus", masked=False).admit()


def test_a_site_that_asks_for_masks_declines_a_run_without(gate):
    with pytest.raises(Declined, match=r"privacy\.secure_aggregation: required here, and the run does without"):
        gate(masked=False, **MASKED_ALONE).admit()


def test_a_task_that_is_not_allowed_is_declined_before_any_patient_is_read(gate, monkeypatch):
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were read"))
    with pytest.raises(Declined, match="tasks: 'pretrain' is not allowed here; allowed: evaluate"):
        gate(masked=False, tasks=["evaluate"]).admit()
