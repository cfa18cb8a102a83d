"""A dishonest site at the server: names, replays, control variates, buffers, votes and numbers beside the weights."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger.files import load
from foundation.federation.privacy.clipping import bounded_vote
from foundation.federation.server.app import Federation
from foundation.federation.server.bounds import check_buffer
from foundation.federation.server.node_registry import NodeRegistry
from foundation.federation.server.statistics import collect_statistics
from foundation.federation.statistics import SiteStatistics
from foundation.federation.statistics.collect import statistics_reply
from foundation.federation.wire.messages import Order, Reply, answering, pack_order, pack_reply
from tests.foundation.federation.stub_sites import (
    PATIENT,
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

pytestmark = pytest.mark.attack
SCAFFOLD = {"strategy": {"_target_": "foundation.federation.strategies.scaffold.Scaffold"}}
ONES = {name: np.ones_like(value) for name, value in START.items()}


def controls(**changed: Any) -> Any:
    """An honest update beside a control variate with some arrays of the site's own."""

    def work(order: Order) -> RecordDict:
        update = {name: np.ones_like(value) for name, value in START.items()}
        control = {name: np.full_like(value, 0.1) for name, value in START.items()} | changed
        control = {name: value for name, value in control.items() if value is not None}
        return pack_reply(Reply("", update, control, samples=dict(SAMPLES), metrics={"train/loss_epoch": 1.0}))

    return work


def absent(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "history.json").read_text())["rounds"][-1]["absent"])


CONTROLS = {
    "numbers that are none": ({PATIENT: np.full(4, np.nan, np.float32)}, "control variate of .*: no finite numbers"),
    "a length beyond any": ({PATIENT: np.full(4, 1e9, np.float32)}, r"length 2e\+09; screening.longest is 1e\+06"),
    "one that takes the mean": ({PATIENT: np.full(4, 1e4, np.float32)}, "times as long as the other sites' median"),
    "another shape": ({PATIENT: np.ones(5, np.float32)}, "control variate of encoder.fusion.patient: none of this run"),
    "text's type": ({PATIENT: np.ones(4, np.uint8)}, "control variate of encoder.fusion.patient: none of this run"),
    "a name of its own": ({"encoder.fusion.norm9": np.ones(1, np.float32)}, "no parameter that this run federates"),
}


@pytest.mark.parametrize("attack", CONTROLS)
def test_attack_by_control_variates_of(attack: str, tmp_path: Path):
    changed, reason = CONTROLS[attack]
    behaviours = {site: controls() for site in SITES} | {"beta": controls(**changed)}
    found = run(config(tmp_path, quorum=0.75, **SCAFFOLD), PatchyGrid(Stubs(behaviours).app), begin(tmp_path))
    assert re.search(reason, absent(tmp_path)["beta"]) and set(absent(tmp_path)) == {"beta"}
    np.testing.assert_allclose(found[PATIENT], 1.0)


def test_attack_by_no_control_variate_ends_no_run(tmp_path: Path):
    behaviours = {site: controls() for site in SITES} | {"beta": controls(**dict.fromkeys(START))}
    run(config(tmp_path, quorum=0.75, rounds=2, **SCAFFOLD), PatchyGrid(Stubs(behaviours).app), begin(tmp_path))
    assert absent(tmp_path) == {}


def test_attack_by_control_variates_that_nobody_asked_for(tmp_path: Path):
    run(config(tmp_path, quorum=0.75), PatchyGrid(Stubs({"beta": controls()}).app), begin(tmp_path))
    assert "for which this run does not ask" in absent(tmp_path)["beta"]


@pytest.mark.parametrize("value", [1e13, -1e13])
def test_attack_by_a_running_statistic_beyond_any(value: float, tmp_path: Path):
    evil = moves(1.0, **{SEEN: np.full(1, value, np.float32)})
    run(config(tmp_path, quorum=0.75), PatchyGrid(Stubs({"beta": evil}).app), begin(tmp_path))
    assert "a running statistic beyond 1e+12" in absent(tmp_path)["beta"]


def test_attack_by_a_variance_below_zero_or_a_counter_that_jumps():
    with pytest.raises(UserError, match="a variance below zero"):
        check_buffer("x", "norm.running_var", np.ones(3, np.float32), np.array([0.5, -1.5, 0], np.float32), 32)
    check_buffer("x", "norm.running_mean", np.ones(3, np.float32), np.array([0.5, -1.5, 0], np.float32), 32)
    with pytest.raises(UserError, match=r"a counter that moved by 1e\+09, at most 512 can be counted"):
        check_buffer("x", "norm.num_batches_tracked", np.array(4), np.array(10**9), 32)
    check_buffer("x", "norm.num_batches_tracked", np.array(4), np.array(16), 32)


@given(vote=st.floats(), deviation=st.floats(0.01, 10))
def test_attack_by_a_vote_moves_the_clip_no_further_than_an_honest_one_can(vote: float, deviation: float):
    assert abs(bounded_vote(vote, deviation)) <= 0.5 + 7 * deviation
    assert bounded_vote(0.5, deviation) == 0.5 and bounded_vote(math.nan, deviation) == 0.0


NUMBERS = {
    "metrics without an end": {"metrics": {f"m{number}": 1.0 for number in range(20_001)}},
    "groups without an end": {"samples": {f"objective:o{number}": 1 for number in range(20_001)}},
    "a metric of a long name": {"metrics": {"m" * 201: 1.0}},
    "a metric that clears the screen": {"metrics": {"\x1b[2J": 1.0}},
    "a metric beyond any": {"metrics": {"loss": 1e300}},
    "facts longer than a book": {"facts": {"head": "0" * (17 << 20)}},
}


@pytest.mark.parametrize("attack", NUMBERS)
def test_attack_by(attack: str, tmp_path: Path):
    def evil(order: Order) -> RecordDict:
        return pack_reply(Reply("", ONES, **{"samples": dict(SAMPLES), **NUMBERS[attack]}))

    run(config(tmp_path, quorum=0.75), PatchyGrid(Stubs({"beta": evil}, {"beta": evil}).app), begin(tmp_path))
    assert "no answer of this release (ValueError)" in absent(tmp_path)["beta"]
    assert load(tmp_path / "ledger.jsonl").problems == [] and (tmp_path / "ledger.jsonl").stat().st_size < 20_000


class Replays(PatchyGrid):
    """Beta sends its first update again in every later round."""

    first: Any = None

    def _answer(self, message: Any) -> Any:
        reply = super()._answer(message)
        if SITES[message.metadata.dst_node_id - 1] == "beta" and message.metadata.message_type == "train":
            self.first = self.first or dict(reply.content.items())
            reply.content = RecordDict(dict(self.first))
        return reply


def test_attack_by_an_answer_that_came_before(tmp_path: Path):
    run(config(tmp_path, rounds=2, quorum=0.75), Replays(Stubs({}).app), begin(tmp_path))
    history = json.loads((tmp_path / "history.json").read_text())["rounds"]
    assert history[0]["absent"] == {}
    assert "answers another order than this one" in history[1]["absent"]["beta"]


def test_attack_by_an_answer_made_for_another_sites_order_of_another_run(tmp_path: Path):
    federation = Federation(config(tmp_path), PatchyGrid(Stubs({}).app), begin(tmp_path))
    one, other = (pack_order(federation._order(number, START)) for number in (1, 1))
    same = answering(pack_reply(Reply("beta")), one).config_records["facts"]["answers"]
    assert same == answering(pack_reply(Reply("beta")), other).config_records["facts"]["answers"]
    federation.ledger.ordered("order", federation._order(1, START), ["beta"])
    later = pack_order(federation._order(1, START))
    assert same != answering(pack_reply(Reply("beta")), later).config_records["facts"]["answers"]


class Impostor(PatchyGrid):
    """Delta's node says that it is alpha."""

    def _answer(self, message: Any) -> Any:
        reply = super()._answer(message)
        if message.metadata.dst_node_id == 4:
            reply.content.config_records["facts"]["hospital"] = "alpha"
        return reply


KEYS = dict(enumerate(SITES, 1))


def test_attack_by_a_node_that_takes_another_hospitals_name():
    for keys in (None, lambda: KEYS):
        registry = NodeRegistry(Impostor(Stubs({}).app), SITES, keys)
        assert registry.connected() == {"alpha": 1, "beta": 2, "gamma": 3}
        (reason,) = registry._unknown.values()
        assert "calls itself 'alpha'" in reason
    assert "its key is that of 'delta'" in reason


def test_attack_by_a_node_whose_key_nobody_admitted():
    registry = NodeRegistry(PatchyGrid(Stubs({}).app), SITES, lambda: {1: "alpha", 2: "beta", 3: "gamma"})
    assert set(registry.connected()) == {"alpha", "beta", "gamma"}


def told(site: str, unit: str, sites: list[str] | None = None) -> Any:
    expression = {"unit": unit, "genes": ["A"], "count": [30], "mean": [1.0], "m2": [1.0]}
    return SiteStatistics.model_validate({"sites": sites or [site], "expression": expression})


class Tells(PatchyGrid):
    """Statistics of expression, in beta's of which something is wrong."""

    beta: Any = None

    def _answer(self, message: Any) -> Any:
        site = SITES[message.metadata.dst_node_id - 1]
        content = pack_reply(statistics_reply(site, self.beta if site == "beta" else told(site, "tpm")))
        return Message(answering(content, message.content), reply_to=message)


@pytest.mark.parametrize("beta", [told("beta", "counts"), told("beta", "tpm", ["alpha"])])
def test_attack_by_statistics_that_fit_nobody_elses(beta: Any, tmp_path: Path):
    grid = Tells(Stubs({}).app)
    grid.beta = beta
    fed = Federation(config(tmp_path), grid, begin(tmp_path))
    order, nodes = fed._order(1, START), {site: number for number, site in enumerate(SITES, 1)}
    collect_statistics(grid, fed.components.task, order, nodes, fed.ledger, fed.checkpoints, None)
    assert json.loads((tmp_path / "statistics.json").read_text())["sites"] == ["alpha", "gamma", "delta"]
    (refusal,) = [entry for entry in fed.ledger.ledger.entries() if entry.kind == "refusal"]
    assert refusal.peer == "beta" and refusal.note.startswith("statistics of beta: ")
