"""The server's rounds: what goes into the mean, and what becomes of sites that fail in any of the ways they can."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message, MessageType, RecordDict

from foundation.errors import UserError
from foundation.federation.ledger.files import load
from foundation.federation.secure import SecureRound
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.messages import Decline, Order, Reply, failure_of, pack_decline, pack_reply
from tests.foundation.federation.stub_sites import (
    PATIENT,
    QUERY,
    SAMPLES,
    SEEN,
    SITES,
    START,
    PatchyGrid,
    Stubs,
    begin,
    config,
    moves,
    run,
)

NAN = np.full(4, np.nan, np.float32)


def last(folder: Path) -> dict:
    return json.loads((folder / "history.json").read_text())["rounds"][-1]


def test_the_mean_goes_over_the_sites_that_trained_a_group_by_their_samples(tmp_path):
    stubs = Stubs(
        {"alpha": moves(1.0), "beta": moves(4.0, {"fusion": 24}), "gamma": moves(9.0, {}), "delta": moves(1.0)}
    )
    found = run(config(tmp_path), PatchyGrid(stubs.app), begin(tmp_path))
    np.testing.assert_allclose(found[PATIENT], (8 * 1 + 24 * 4 + 8 * 1) / 40)
    np.testing.assert_allclose(found[QUERY], 2.0)
    facts = last(tmp_path)
    assert facts["coverage"] == {
        "fusion": {"alpha": 0.2, "beta": 0.6, "delta": 0.2},
        "genomics": {"alpha": 0.5, "delta": 0.5},
    }
    assert facts["training"]["beta"]["norms"]["fusion"] == pytest.approx(8.0)
    assert facts["training"]["beta"]["bytes"] == {"to_site": 44, "from_site": 44}
    assert facts["drift"] == {"fusion": pytest.approx(1.0), "genomics": pytest.approx(1.0)}
    assert set(facts["seconds"]) == {"training", "aggregation", "evaluation", "total"}
    assert facts["absent"] == {} and set(facts["evaluation"]) == set(SITES)


def declines(order: Order) -> RecordDict:
    return pack_decline(Decline("", "policy: releases: '0.1' is not allowed here"))


def declines_at_length(order: Order) -> RecordDict:
    return pack_decline(Decline("", "\x1b[2J\nround 1: all is well " + "x" * 10_000))


def names_as_it_likes(order: Order) -> RecordDict:
    return pack_reply(Reply("", {"a\x1b[2J" + "x" * 10_000: np.ones(1, np.float32)}, samples=SAMPLES))


def dies_at_length(order: Order) -> RecordDict:
    raise MemoryError("\x1b[2J" + "x" * 10_000)


def test_a_node_that_fails_without_a_word_is_named_by_its_code():
    assert failure_of(Error(204, " \n ")) == failure_of(Error(204)) == "the node failed: code 204"


def test_a_masked_reply_whose_open_part_cannot_be_read_ends_no_run(tmp_path, monkeypatch: pytest.MonkeyPatch):
    sizes = {site: {"to_site": 1, "from_site": 1} for site in SITES}
    masked = SecureRound(took_part=SITES, replies={site: RecordDict() for site in SITES}, bytes=sizes)
    monkeypatch.setattr("foundation.federation.server.round.secure_round", lambda *_, **__: masked)
    cfg = config(tmp_path, secure={"_target_": "foundation.federation.secure.Secure"})
    run(cfg, PatchyGrid(Stubs({}).app), begin(tmp_path))
    assert [facts["metrics"] for facts in last(tmp_path)["training"].values()] == [{}] * len(SITES)


@pytest.mark.parametrize("behaviour", [declines_at_length, names_as_it_likes, dies_at_length])
def test_what_a_site_says_is_one_printable_line_in_history_and_console(behaviour, tmp_path):
    run(config(tmp_path, quorum=0.75), PatchyGrid(Stubs({"beta": behaviour}).app), begin(tmp_path))
    reason = last(tmp_path)["absent"]["beta"]
    assert reason.isprintable() and len(reason) < 400


def dies(order: Order) -> RecordDict:
    raise MemoryError("no memory left")


FAULTS = {
    "values that are no numbers": (moves(1.0, **{PATIENT: NAN}), "update refused: beta: encoder.fusion.patient: NaN"),
    "infinite values": (moves(1.0, **{PATIENT: NAN + np.inf}), "update refused: beta: encoder.fusion.patient:"),
    "another shape": (moves(1.0, **{PATIENT: np.ones(5, np.float32)}), r"shape \(5,\), \(4,\) expected"),
    "another type": (moves(1.0, **{PATIENT: np.ones(4)}), "an array of float64, float32 expected"),
    "a name of another model": (
        moves(1.0, **{"encoder.fusion.norm9": np.ones(1, np.float32)}),
        "no parameter that this run federates",
    ),
    "an exploding update": (moves(1e5), "times as long as the other sites' median"),
    "samples below nothing": (moves(1.0, {"fusion": -1}), "samples of fusion: -1"),
    "samples that take the mean": (moves(1.0, {"fusion": 10**9}), "samples of fusion: 1000000000, 0 to 32 can be"),
    "one sample too many": (moves(1.0, {"fusion": 33}), "samples of fusion: 33, 0 to 32 can be"),
    "a site that declines": (declines, "declined: policy: releases: '0.1' is not allowed here"),
    "a site that dies": (dies, "the node failed: .*no memory left"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_site_that_fails_is_named_and_the_others_go_on(fault, tmp_path):
    behaviour, said = FAULTS[fault]
    grid = PatchyGrid(Stubs({"beta": behaviour}).app)
    found = run(config(tmp_path, quorum=0.75), grid, begin(tmp_path))
    np.testing.assert_allclose(found[PATIENT], 1.0)
    facts = last(tmp_path)
    assert set(facts["training"]) == {"alpha", "gamma", "delta"}
    assert set(facts["absent"]) == {"beta"}
    assert pytest.approx(1 / 3) == facts["coverage"]["fusion"]["alpha"]
    assert re.search(said, facts["absent"]["beta"])
    chain = load(tmp_path / "ledger.jsonl")
    assert chain.problems == []
    kinds = [entry.kind for entry in chain.entries if entry.peer == "beta" and entry.direction != "out"]
    assert kinds == {"a site that declines": ["decline", "evaluation"], "a site that dies": ["evaluation"]}.get(
        fault, ["update", "refusal", "evaluation"]
    )


class Hangs(PatchyGrid):
    """A site that never comes back from training."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        if sent[0].metadata.message_type == MessageType.TRAIN:
            self.silent = {"gamma"}
        return super().push_messages(sent)


def test_a_site_that_hangs_is_waited_for_until_the_deadline(tmp_path):
    found = run(config(tmp_path, quorum=0.5, deadline=0.3), Hangs(Stubs({}).app), begin(tmp_path))
    np.testing.assert_allclose(found[PATIENT], 1.0)
    assert last(tmp_path)["absent"] == {"gamma": "no answer in 0.3 s"}
    assert set(last(tmp_path)["evaluation"]) == {"alpha", "beta", "delta"}


def test_too_few_updates_end_the_run_in_one_line_that_says_how_to_go_on(tmp_path):
    grid = PatchyGrid(Stubs({"alpha": declines, "beta": dies}).app)
    with pytest.raises(UserError, match=r"round 1: 2 of 4 sites gave an update, 3 are needed \(.*resume=true"):
        run(config(tmp_path, quorum=0.75), grid, begin(tmp_path))
    assert not (tmp_path / "history.json").exists(), "a round that did not close counts nothing"


def test_a_run_does_not_begin_before_its_quorum_is_there(tmp_path):
    grid = PatchyGrid(Stubs({}).app)
    grid.gone = {"beta", "delta"}
    with pytest.raises(UserError, match=r"sites: 2 of 4 connected in 0.3 s, 3 are needed; start those of beta, delta"):
        run(config(tmp_path, quorum=0.75), grid, begin(tmp_path))


def test_sites_join_late_and_come_back(tmp_path):
    stubs = Stubs({})
    grid = PatchyGrid(stubs.app)
    grid.gone = {"delta"}

    def leaves(order: Order) -> RecordDict:
        grid.gone = {"alpha"} if order.round == 1 else set()
        return moves(1.0)(order)

    stubs.behaviours["gamma"] = leaves
    run(config(tmp_path, rounds=3, quorum=0.5), grid, begin(tmp_path))
    who = [sorted(line["training"]) for line in json.loads((tmp_path / "history.json").read_text())["rounds"]]
    assert who == [["alpha", "beta", "gamma"], ["beta", "delta", "gamma"], sorted(SITES)]


def test_updates_beyond_the_memory_wait_on_disk_and_change_nothing(tmp_path):
    behaviours = {site: moves(by) for by, site in enumerate(SITES, 1)}
    held = run(config(tmp_path / "a"), PatchyGrid(Stubs(behaviours).app), begin(tmp_path / "a"))
    spilled = run(config(tmp_path / "b", memory_mib=0), PatchyGrid(Stubs(behaviours).app), begin(tmp_path / "b"))
    for name in START:
        np.testing.assert_array_equal(held[name], spilled[name])
    assert not (tmp_path / "b" / "rounds" / ".updates").exists() or not list(
        (tmp_path / "b" / "rounds" / ".updates").iterdir()
    )


def test_sites_may_send_narrow_updates(tmp_path):
    def narrow(order: Order) -> RecordDict:
        difference = {name: np.full(value.shape, 0.5, np.float32) for name, value in order.weights.items()}
        return pack_reply(Reply("", Compressor("int8").encode(difference).arrays, samples=SAMPLES))

    found = run(config(tmp_path), PatchyGrid(Stubs(dict.fromkeys(SITES, narrow)).app), begin(tmp_path))
    np.testing.assert_allclose(found[QUERY], 1.5, atol=0.005)


@pytest.mark.parametrize(
    "strategy", ["averaging.FedAvg", "server_optimisers.FedAdam", "server_optimisers.FedAvgM", "averaging.Cyclic"]
)
def test_a_run_that_was_cut_off_goes_on_exactly(strategy, tmp_path):
    def drifting(order: Order) -> RecordDict:
        return moves(0.1 * order.round)(order)

    more = {"strategy": {"_target_": f"foundation.federation.strategies.{strategy}"}}
    grid = PatchyGrid(Stubs(dict.fromkeys(SITES, drifting)).app)
    whole = run(config(tmp_path / "whole", rounds=4, **more), grid, begin(tmp_path / "whole"))
    run(config(tmp_path / "cut", rounds=2, **more), grid, begin(tmp_path / "cut"))
    again = run(config(tmp_path / "cut", rounds=4, **more), grid, Checkpoints(tmp_path / "cut", "digest"))
    for name in START:
        np.testing.assert_array_equal(whole[name], again[name])


def test_one_site_after_another_starts_from_the_last_ones_weights(tmp_path):
    stubs = Stubs({})
    more = {"strategy": {"_target_": "foundation.federation.strategies.averaging.Cyclic"}}
    found = run(config(tmp_path, **more), PatchyGrid(stubs.app), begin(tmp_path))
    assert [(site, float(weights[PATIENT][0])) for site, _, weights in stubs.orders] == [
        ("alpha", 0.0),
        ("beta", 1.0),
        ("gamma", 2.0),
        ("delta", 3.0),
    ]
    np.testing.assert_allclose(found[PATIENT], 4.0)


def test_statistics_are_never_stepped_by_a_server_optimiser(tmp_path):
    more = {
        "strategy": {"_target_": "foundation.federation.strategies.server_optimisers.FedAdam", "learning_rate": 0.01}
    }
    found = run(config(tmp_path, **more), PatchyGrid(Stubs({}).app), begin(tmp_path))
    np.testing.assert_allclose(found[SEEN], 1.0)
    assert abs(float(found[PATIENT][0])) < 0.2
