"""What leaves a site: the filters one by one, their order, and what is noted of it."""

from collections.abc import Callable

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.policy import SitePolicy
from foundation.federation.secure import Secure, SecureOrder
from foundation.federation.site.error_feedback import ErrorFeedback
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.filters.groups import WithheldGroups
from foundation.federation.site.filters.ledger import LedgerNote
from foundation.federation.site.filters.metrics import WithheldMetrics
from foundation.federation.site.filters.policy import PolicyCheck
from foundation.federation.site.filters.privacy import ClipAndNoise
from foundation.federation.site.filters.small_cells import SmallCells
from foundation.federation.site.gate import OrderType, PolicyGate
from foundation.federation.site.outgoing import (
    EMBEDDINGS,
    EVALUATION,
    MASKED_UPDATE,
    STATISTICS,
    UPDATE,
    apply_filters,
    packed,
)
from foundation.federation.site.training import state_of
from foundation.federation.statistics import from_arrays
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.digest import digest_of_weights
from foundation.federation.wire.messages import Reply, unpack_reply
from tests.foundation.federation.gates import gate_of, site_of

PATIENT, QUERY = "encoder.fusion.patient", "encoder.modalities.genomics.query"
WEIGHTS = {PATIENT: np.ones((8, 8), np.float32), QUERY: np.ones((2, 3), np.float32)}
LISTS = {
    "update": UPDATE,
    "masked update": MASKED_UPDATE,
    "evaluation": EVALUATION,
    "statistics": STATISTICS,
    "embeddings": EMBEDDINGS,
}
Made = Callable[..., PolicyGate]


@pytest.fixture
def gate(configure, tmp_path) -> Made:
    """A gate that has let an order in."""

    def made(
        *overrides: str, order_type: OrderType = "train", masked: bool = False, number: int = 1, **rules
    ) -> PolicyGate:
        cfg = configure("sites=[riverside,northgate]", f"output={tmp_path}", *overrides, command="federated")
        cfg.statistics = ["counts"]
        at = gate_of(site_of(cfg, tmp_path, **rules), cfg, order_type, WEIGHTS, masked, number)
        at.admit()
        return at

    return made


def update(seed: int = 0, size: float = 1.0, **more) -> Outgoing:
    rng = np.random.default_rng(seed)
    difference = {name: (size * rng.normal(size=value.shape)).astype(np.float32) for name, value in WEIGHTS.items()}
    reply = Reply("riverside", difference, {QUERY: difference[QUERY]}, {"fusion": 8, "genomics": 4}, {"seconds": 1.0})
    return Outgoing("update", reply, 12, {"genomics": 3}, **more)


@pytest.mark.parametrize("filters", LISTS.values(), ids=LISTS)
def test_every_list_ends_with_the_note_of_what_the_policy_has_checked(filters: tuple[Filter, ...]):
    kinds = [type(each) for each in filters]
    assert kinds[-1] is LedgerNote and PolicyCheck in kinds
    may_follow_the_check = {"ExtensionEpsilon", "LedgerNote"}  # which change no arrays
    assert {kind.__name__ for kind in kinds[kinds.index(PolicyCheck) + 1 :]} <= may_follow_the_check


@pytest.mark.parametrize("name", ["update", "masked update"])
def test_counts_are_withheld_before_privacy_hides_them(name: str):
    kinds = [type(each) for each in LISTS[name]]
    assert kinds.index(WithheldGroups) < kinds.index(ClipAndNoise) < kinds.index(WithheldMetrics)


def test_a_group_of_too_few_patients_stays_with_its_counts_and_control(gate: Made):
    at = gate(patients={"training": 4})
    outgoing = WithheldGroups().apply(update(), at)
    assert outgoing.reply.samples == {"fusion": 8}
    assert outgoing.reply.update.keys() == {PATIENT} and outgoing.reply.control == {}


def test_a_group_that_the_site_did_not_train_has_no_difference(gate: Made):
    outgoing = update()
    outgoing.reply.samples["fusion"] = 0
    passed = WithheldGroups().apply(outgoing, gate()).reply
    assert passed.samples == {"fusion": 0, "genomics": 4} and passed.update.keys() == {QUERY} == passed.control.keys()


def test_metrics_of_too_few_patients_stay(gate: Made):
    reply = Reply("riverside", metrics={"genomics/loss": 1.0, "patients": 12.0, "seconds": 2.0})
    outgoing = Outgoing("evaluation", reply, 12, {"genomics": 3})
    passed = WithheldMetrics().apply(outgoing, gate(order_type="evaluate", patients={"metrics": 5}))
    assert passed.reply.metrics == {"patients": 12.0, "seconds": 2.0}


def test_small_cells_stay_and_what_is_left_reads_as_statistics(gate: Made):
    at = gate(order_type="statistics", patients={"cell": 1000})
    outgoing = Outgoing("statistics", Reply("riverside"), 12, statistics=at.task.statistics(["counts"]))
    passed = SmallCells().apply(outgoing, at).reply
    texts = {name.removeprefix("statistic."): str(text) for name, text in passed.facts.items()}
    assert from_arrays(passed.update, texts).withheld


def test_privacy_clips_the_update_and_hides_counts(gate: Made):
    at = gate("privacy=central")
    passed = ClipAndNoise().apply(update(size=100.0), at).reply
    assert passed.samples == {"fusion": 1, "genomics": 1}
    length = np.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in passed.update.values()))
    assert length == pytest.approx(1.0, rel=1e-5)


def test_an_update_is_noted_as_it_leaves(gate: Made):
    at = gate("compression=int8")
    passed = apply_filters(update(), UPDATE, at)
    entry = at.ledger.entries()[-1]
    assert (entry.kind, entry.direction, entry.masked) == ("update", "out", False)
    assert any(name.endswith(":int8") for name in passed.reply.update), "narrowed before it was noted"
    assert entry.samples == {"fusion": 8, "genomics": 4} and entry.metrics == {"seconds": 1.0}
    assert passed.reply.facts == {"head": entry.hash}
    arrays = {**passed.reply.update, **{f"control/{name}": value for name, value in passed.reply.control.items()}}
    assert entry.digest == digest_of_weights(arrays)


def test_what_compression_loses_is_added_to_the_next_update(gate: Made):
    wanted, sent = 0.0, 0.0
    for number in (1, 2):
        outgoing = update(seed=number)
        wanted = wanted + outgoing.reply.update[PATIENT].astype(np.float64)
        at = gate("compression=int8", number=number)
        passed = apply_filters(outgoing, UPDATE, at)
        sent = sent + Compressor.decode(passed.reply.update)[PATIENT].astype(np.float64)
    lost = ErrorFeedback(state_of(at.site, at.order), "run-1").before(3)[PATIENT]
    assert np.abs(lost).max() > 0
    np.testing.assert_allclose(sent + lost, wanted, rtol=1e-5, atol=1e-6)


def test_an_update_that_the_policy_refuses_leaves_no_note_and_loses_nothing(gate: Made, tmp_path):
    at = gate("compression=int8")
    before = len(at.ledger.entries())
    at.site.policy = SitePolicy.model_validate({"modalities": ["pathology"]})
    with pytest.raises(UserError, match="modalities: 'genomics' is not allowed here"):
        apply_filters(update(), UPDATE, at)
    assert len(at.ledger.entries()) == before
    assert not list(tmp_path.rglob("residuals/**/*.safetensors")), "the next round starts from what really left"


def test_of_a_masked_update_neither_arrays_nor_counts_are_in_the_open(gate: Made):
    at = gate("secure=secagg_plus", masked=True)
    secure = SecureOrder.of(Secure(), 64, ["fusion", "genomics"])
    content = packed(apply_filters(update(secure=secure), MASKED_UPDATE, at))
    opened = unpack_reply(content)
    assert isinstance(opened, Reply)
    assert (dict(opened.update), dict(opened.control), opened.samples) == ({}, {}, {})
    assert opened.metrics == {"seconds": 1.0} and "head" in opened.facts
    entry = at.ledger.entries()[-1]
    assert entry.masked and entry.samples == {"fusion": 8, "genomics": 4} and entry.size == 0
