"""What a site lets in at its front gate, whatever the run's config promises."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

from foundation.federation.policy import Declined
from foundation.federation.secure import Secure, SecureOrder
from foundation.federation.secure.settings import RECORD
from foundation.federation.site.gate import OrderType, PolicyGate
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


def test_masks_that_the_plan_knows_nothing_of_are_declined_for_every_kind_of_order(configure, tmp_path):
    cfg = configure("sites=[riverside,northgate]", f"output={tmp_path}", command="federated")
    kinds: list[tuple[OrderType, dict]] = [("train", {}), ("evaluate", {}), ("sums", {"sums": "encoder"})]
    for kind, more in kinds:
        with pytest.raises(Declined, match="secure: masks are asked for in the order or in its plan"):
            gate_of(site_of(cfg, tmp_path), cfg, kind, masked=True, **more).admit()


@pytest.mark.parametrize("privacy", ["central", "local"])
def test_a_plan_that_promises_noise_gets_no_exact_sum(configure, tmp_path, privacy):
    cfg = configure("sites=[riverside,northgate]", f"output={tmp_path}", f"privacy={privacy}", command="federated")
    sums = gate_of(site_of(cfg, tmp_path), cfg, "sums", sums="counts", shapes=((2,),))
    with pytest.raises(Declined, match="privacy: sums are exact, and the noise that the plan promises covers updates"):
        sums.admit()


def test_a_task_that_is_not_allowed_is_declined_before_any_patient_is_read(gate, monkeypatch):
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were read"))
    with pytest.raises(Declined, match="tasks: 'pretrain' is not allowed here; allowed: evaluate"):
        gate(masked=False, tasks=["evaluate"]).admit()


def masks(order: SecureOrder, *sources: int) -> RecordDict:
    """What an order says of masks, with the keys of so many other sites."""
    keys = ConfigRecord({Key.STAGE: Stage.COLLECT_MASKED_VECTORS, Key.SOURCE_LIST: list(sources)})
    return RecordDict({RECORD: order.record(), RECORD_KEY_CONFIGS: keys})


def test_a_sum_of_a_few_sites_is_none(gate):
    at = gate("secure=secagg_plus", masked=True, privacy={"min_sites": 4})
    expected = SecureOrder.of(Secure(), 16 * 8, [])
    assert at.secure_order(masks(expected, 1, 2, 3)) == expected
    for sources in ((), (1,), (1, 2), (1, 1, 1)):
        with pytest.raises(Declined, match="secure: fewer than 4 sites' keys came with the order"):
            at.secure_order(masks(expected, *sources))
    alone = gate("secure=secagg_plus", masked=True)
    with pytest.raises(Declined, match="secure: fewer than 3 sites' keys"):
        alone.secure_order(masks(expected, 1))


@pytest.mark.parametrize(
    "changed",
    [{"most": 1}, {"norms": (1e-9,)}, {"statistic_range": 1e9}, {"statistics": ("*",)}, {"groups": ("fusion",)}],
)
def test_an_order_for_other_masks_than_the_plans_is_refused(gate, changed):
    expected = SecureOrder.of(Secure(), 16 * 8, [])
    at = gate("secure=secagg_plus", masked=True)
    with pytest.raises(Declined, match="secure: counts, ranges or groups of the order's masks are not those"):
        at.secure_order(masks(replace(expected, **changed), 1, 2))
