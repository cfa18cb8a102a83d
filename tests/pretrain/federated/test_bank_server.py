"""Banks as the server hands them on."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict
from flwr.common.secure_aggregation.secaggplus_constants import Stage
from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.planning import plan_of
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.wire.digest import digest_of_weights
from foundation.federation.wire.messages import (
    REFUSAL,
    Order,
    Reply,
    extension_records,
    pack_order,
    pack_reply,
    unpack_order,
    unpack_reply,
)
from foundation.federation.wire.tensors import PackedTensors
from pretrain.federated.bank.rows import for_site
from tests.foundation.federation.gates import TASKS
from tests.foundation.federation.secure_sites import (
    AFTER,
    NODES,
    SAMPLES,
    a_task,  # noqa: F401 - a fixture for every test here
    equals_the_plain_mean,
    grid_of,
    round_of,
)
from tests.foundation.federation.stub_sites import METRICS, SITES, PatchyGrid, Stubs, begin, config, run
from tests.pretrain.federated.bank_rounds import WIDTH, entries, history, rows, settings

PLAN = plan_of(config(Path("x"), rounds=3))


def test_a_bank_arrives_as_it_was_sent_and_costs_nothing_where_there_is_none():
    sent = rows()
    order = pack_order(Order(PLAN, {"a": np.ones(2, np.float32)}, "r", 2, extension=sent))
    reply = pack_reply(Reply("alpha", extension=sent))
    for found in (unpack_order(order, TASKS).extension, unpack_reply(reply).extension):
        assert digest_of_weights(found) == digest_of_weights(sent)
    assert "extension" not in pack_reply(Reply("alpha")) and "extension" not in pack_order(Order(PLAN, {}, "r", 2))
    assert unpack_reply(pack_reply(Reply("alpha"))).extension == {} == extension_records({})


class Watched(PatchyGrid):
    """Keeps what was sent."""

    def push_messages(self, messages):
        self.sent = list(messages)
        return super().push_messages(self.sent)


def test_orders_differ_by_site_and_share_the_packed_weights():
    grid = Watched(Stubs({}).app)
    order = pack_order(Order(PLAN, {"a": np.ones(2, np.float32)}, "r", 1))
    nodes = {site: number + 1 for number, site in enumerate(SITES[:3])}
    extra = {"alpha": extension_records(rows(2)), "beta": extension_records(rows(3))}
    assert send_and_collect(grid, "train", order, nodes, None, lambda site, message: None, extra) == {}
    contents = [message.content for message in grid.sent]
    assert [len(unpack_order(content, TASKS).extension.get("genomics", ())) for content in contents] == [2, 3, 0]
    assert contents[0]["arrays"] is contents[1]["arrays"] is contents[2]["arrays"] is order["arrays"]
    assert "extension" not in order


BANK = {"modalities": ["pathology", "genomics"], "epsilon": 8.0, "least": 2, "limit": 8}


def banked(folder: Path, **more) -> DictConfig:
    return config(folder, **{"rounds": 3, "bank": BANK, "encoder": {"width": WIDTH}, **more})


def gives(of: Callable[[Order], dict], facts: dict | None = None) -> Callable[[Order], RecordDict]:
    """A site that gives these rows for the bank."""
    return lambda order: pack_reply(Reply("", metrics=METRICS, facts=facts or {}, extension=of(order)))


def each(order: Order) -> dict:
    """By round, so that a later bank is another one; none in the last."""
    return rows(3, order.round) if order.round < order.plan.rounds else {}


def genes(order: Order) -> dict:
    return {name: values for name, values in each(order).items() if name == "genomics"}


def test_each_site_gets_the_others_rows_of_the_round_before(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each), "beta": gives(genes)})
    run(banked(tmp_path), PatchyGrid(stubs.app), begin(tmp_path))
    for number in (2, 3):
        sent = {"alpha": rows(3, number - 1), "beta": {"genomics": rows(3, number - 1)["genomics"]}}
        for site in SITES:
            assert digest_of_weights(stubs.extensions[site, number]) == digest_of_weights(for_site(sent, site))
    assert all(stubs.extensions[site, 1] == {} for site in SITES)
    assert set(stubs.extensions["alpha", 2]) == {"genomics"} and set(stubs.extensions["gamma", 2]) == {
        "pathology",
        "genomics",
    }
    lines = history(tmp_path)
    assert lines[0]["bank"]["rows"] == {"alpha": {"pathology": 3, "genomics": 3}, "beta": {"genomics": 3}}
    assert lines[0]["bank"]["none"] == dict.fromkeys(("gamma", "delta"), "sent none, and no reason")
    assert (lines[2]["bank"]["rows"], lines[2]["bank"]["none"]) == ({}, {}), "nobody is asked where no round follows"
    to_site = [lines[1]["training"][site]["bytes"]["to_site"] for site in SITES]
    assert to_site == [44 + 48, 44 + 96, 44 + 144, 44 + 144]
    assert [line["bank"]["releases"] for line in lines] == [1, 2, 2]
    assert lines[2]["bank"]["epsilon"] == settings().spent(2).epsilon


def test_a_run_that_was_cut_off_hands_on_the_bank_that_it_had(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each)})
    grid = PatchyGrid(stubs.app)
    run(banked(tmp_path), grid, begin(tmp_path))
    whole = stubs.extensions["beta", 3]
    for name in ("round_0003", "bank_0001"):
        (tmp_path / "rounds" / f"{name}.safetensors").unlink(missing_ok=True)
    content = json.loads((tmp_path / "history.json").read_text())
    (tmp_path / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    stubs.extensions.clear()
    run(banked(tmp_path), grid, Checkpoints(tmp_path, "digest"))
    assert list(stubs.extensions) == [(site, 3) for site in SITES]
    assert digest_of_weights(stubs.extensions["beta", 3]) == digest_of_weights(whole)
    assert sorted(path.name for path in (tmp_path / "rounds").glob("bank_*")) == ["bank_0002.safetensors"]
    (tmp_path / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    (tmp_path / "rounds" / "bank_0002.safetensors").unlink()
    with pytest.raises(UserError, match=r"bank_0002\.safetensors: missing, though history\.json counts it"):
        run(banked(tmp_path), grid, Checkpoints(tmp_path, "digest"))


def test_rows_of_an_earlier_attempt_at_a_round_are_not_those_of_the_next(tmp_path):
    checkpoints = begin(tmp_path)
    checkpoints.save(1, {}, {}, ("bank", {"alpha": rows()}))
    assert digest_of_weights(checkpoints.extension("bank")["alpha"]) == digest_of_weights(rows())
    again = Checkpoints(tmp_path, "digest")
    again.save(1, {}, {}, ("bank", {}))
    assert again.extension("bank") == {}


ROTTEN = {
    "NaN": (lambda _: {"genomics": np.full((3, WIDTH), np.nan, np.float32)}, "holds rows that are not of unit length"),
    "another width": (lambda _: rows(3, width=5), r"float32 of shape \(3, 5\); rows of 4 numbers were asked for"),
    "no rows": (lambda _: {"genomics": np.ones((), np.float32)}, r"float32 of shape \(\); rows of 4 numbers"),
    "too many": (lambda _: rows(9), "9 rows; 2 to 8 were asked for"),
    "a modality that was not asked for": (lambda _: rows(3, names=("report\n",)), "bank.report.?: was not asked for"),
}


@pytest.mark.parametrize("fault", ROTTEN)
def test_a_rotten_bank_is_refused_with_its_reason_and_the_evaluation_counts(fault, tmp_path):
    of, said = ROTTEN[fault]
    stubs = Stubs({}, {"alpha": gives(of), "beta": gives(lambda _: rows())})
    run(banked(tmp_path, rounds=2), PatchyGrid(stubs.app), begin(tmp_path))
    first, second = history(tmp_path)
    assert set(first["bank"]["rows"]) == {"beta"} and set(first["evaluation"]) == set(SITES)
    assert re.match(f"refused: site alpha: .*{said}", first["bank"]["none"]["alpha"])
    assert second["absent"] == {} and set(second["training"]) == set(SITES)
    assert second["bank"]["none"]["beta"] == "refused: site beta: bank: was not asked for; leave this site out"
    assert digest_of_weights(stubs.extensions["gamma", 2]) == digest_of_weights(for_site({"beta": rows()}, "gamma"))
    assert stubs.extensions["beta", 2] == {}
    assert verify(tmp_path / "ledger.jsonl") == []
    assert len(entries(tmp_path / "ledger.jsonl", "in", peer="alpha")) == 2, "they came in all the same"
    assert len(entries(tmp_path / "ledger.jsonl", None, "refusal", "alpha")) == 2


def test_a_held_out_site_is_not_asked_and_a_run_without_a_bank_takes_none(tmp_path):
    held_out = {"test_hospitals": ["delta"], "batch_size": 8}
    stubs = Stubs({}, {"delta": gives(lambda _: rows()), "alpha": gives(lambda _: {}, {REFUSAL: "policy: no"})})
    run(banked(tmp_path / "a", rounds=2, data=held_out), PatchyGrid(stubs.app), begin(tmp_path / "a"))
    first, after_all = history(tmp_path / "a")
    assert after_all["bank"]["none"]["delta"] == "refused: site delta: bank: was not asked for; leave this site out"
    assert first["bank"]["none"]["alpha"] == "policy: no" and "delta" not in first["evaluation"]
    assert "delta" in after_all["evaluation"]
    assert [entry.note for entry in entries(tmp_path / "a" / "ledger.jsonl", "in", "decline")] == ["policy: no"] * 2
    run(config(tmp_path / "b", rounds=2), PatchyGrid(stubs.app), begin(tmp_path / "b"))
    assert "bank" not in history(tmp_path / "b")[0]
    assert all(bank == {} for bank in stubs.extensions.values())
    assert len(entries(tmp_path / "b" / "ledger.jsonl", None, "refusal", "delta")) == 2


def test_one_site_after_another_gets_what_the_round_before_gave(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each), "beta": gives(each)})
    more = {"strategy": {"_target_": "foundation.federation.strategies.averaging.Cyclic"}, "rounds": 2}
    run(banked(tmp_path, **more), PatchyGrid(stubs.app), begin(tmp_path))
    counts = {site: len(stubs.extensions[site, 2]["genomics"]) for site in SITES}
    assert counts == {"alpha": 3, "beta": 3, "gamma": 6, "delta": 6}


def test_masked_rounds_hand_on_rows_as_well():
    extra = {"riverside": extension_records(rows(2)), "summit": extension_records(rows(3))}
    grid = grid_of()
    found = round_of(grid, extra=extra)
    got = {
        site: len(PackedTensors(content["extension"])["genomics"]) if "extension" in content else 0
        for site, node in NODES.items()
        for stage, to, content in grid.sent
        if (stage, to) == (Stage.COLLECT_MASKED_VECTORS, node)
    }
    assert got == {"riverside": 2, "northgate": 0, "lakeview": 0, "summit": 3}
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)
