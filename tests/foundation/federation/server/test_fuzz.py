"""A site that answers with mutated messages: it loses its round, nobody else anything, and memory stays."""

import itertools
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from flwr.app import Message
from omegaconf import DictConfig

from foundation.federation.deployment.flower_patches import identify_process
from foundation.federation.ledger.files import load
from foundation.federation.server.app import Federation
from foundation.federation.server.round import Round
from foundation.federation.server.statistics import collect_statistics
from foundation.federation.server.timing import PhaseTimer
from foundation.federation.statistics import SiteStatistics
from foundation.federation.statistics.collect import statistics_reply
from foundation.federation.wire.messages import Reply, answering, pack_reply
from tests.foundation.federation.fuzz import Mutator, finite
from tests.foundation.federation.stub_sites import METRICS, SAMPLES, START, begin, config

_MIB = 2**20
SITES = ["alpha", "beta", "gamma"]
_RENEWED = 400  # messages after which a server begins anew: its ledger grows with what it refuses
UPDATE = {name: np.full_like(value, 0.01) for name, value in START.items()}
COUNTS = {"modality": {"genomics": 30}, "combination": {"genomics": 30}, "label": {}, "hospital": {"beta": 40}}
EXPRESSION = {"unit": "tpm", "genes": ["A", "B"], "count": [30, 30], "mean": [1.0, 2.0], "m2": [1.0, 1.0]}
STATISTICS = SiteStatistics.model_validate(
    {"sites": ["beta"], "counts": {"patients": 40, **COUNTS}, "expression": EXPRESSION}
)


class Answers:
    """A grid on which one site answers with what it likes.

    Args:
        mutator: of beta's answers.
    """

    def __init__(self, mutator: Mutator) -> None:
        identify_process()
        self.mutator = mutator
        self._asked: dict[str, Message] = {}
        self._numbers = itertools.count()

    def get_node_ids(self) -> Iterable[int]:
        return range(1, len(SITES) + 1)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        listed = list(messages)
        numbers = [str(next(self._numbers)) for _ in listed]
        self._asked |= dict(zip(numbers, listed, strict=True))
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._answer(self._asked.pop(number)) for number in message_ids]

    def _answer(self, order: Message) -> Message:
        site, kind = SITES[order.metadata.dst_node_id - 1], order.metadata.message_type
        reply = Reply(site, UPDATE, {}, dict(SAMPLES), {**METRICS, "train/loss_epoch": 0.5})
        if "statistics" in kind:
            reply = statistics_reply(site, STATISTICS.model_copy(update={"sites": [site]}))
        elif order.content.config_records.get("facts") and '"scaffold":true' in str(
            order.content.config_records["facts"]["plan"]
        ):
            reply.control = UPDATE
        content = answering(pack_reply(reply), order.content)
        return Message(self.mutator.mutated(content) if site == "beta" else content, reply_to=order)


class Server:
    """A server's parts, that take one round's answers after another's.

    Args:
        cfg: of the run.
        folder: of it.
        grid: to the sites.
    """

    def __init__(self, cfg: DictConfig, folder: Path, grid: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder = folder
        self.federation = Federation(cfg, grid, begin(folder))
        self.nodes = {site: number for number, site in enumerate(SITES, 1)}

    def update(self) -> None:
        fed = self.federation
        parts = (fed.grid, fed.components, fed.ledger, PhaseTimer(), fed.checkpoints, fed.extension)
        current = Round(*parts, 1.0, 8)
        weights = current.stage(fed._order(1, START), self.nodes)
        assert "alpha" in current.sites
        assert finite(weights) and all(weights[name].shape == START[name].shape for name in START)
        assert all(np.abs(weights[name] - START[name]).max() < 1 for name in START)
        self._written({**current.facts(), "absent": current.absent})

    def evaluation(self) -> None:
        metrics, silent = self.federation._evaluate(self.federation._order(1, START), self.nodes)
        assert "alpha" in metrics
        self._written({"evaluation": metrics, "absent": silent})

    def statistics(self) -> None:
        fed = self.federation
        order = fed._order(1, START)
        collect_statistics(fed.grid, fed.components.task, order, self.nodes, fed.ledger, fed.checkpoints, None)

    def introduction(self) -> None:
        registry = self.federation.nodes
        registry._names.clear()
        assert "alpha" in registry.connected()

    @staticmethod
    def _written(facts: Mapping[str, Any]) -> None:
        """What history keeps of it is short, and one printable line a reason."""
        assert len(json.dumps(facts)) < 4 * _MIB
        assert all(len(reason) < 500 and reason.isprintable() for reason in facts["absent"].values())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A run's folder, in memory where the machine has such."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made) / "run"


STAGES = ("update", "evaluation", "statistics", "introduction")


def fuzzed(folder: Path, monkeypatch: pytest.MonkeyPatch, messages: int, seed: int) -> None:
    """Sends so many mutated messages, and holds the server to what it must."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # or pytest would keep every line
    mutator = Mutator(seed)
    memory = psutil.Process().memory_info
    more = {"strategy": {"_target_": "foundation.federation.strategies.scaffold.Scaffold"}}
    cfgs = [config(folder, sites=SITES), config(folder, sites=SITES, **more)]
    begun = 0
    for number in range(messages):
        if number % _RENEWED == 0:
            server = Server(cfgs[number // _RENEWED % 2], folder, Answers(mutator))
            begun = begun or memory().rss
        getattr(server, STAGES[number % len(STAGES)])()
    chain = load(folder / "ledger.jsonl")
    assert chain.problems == [] and memory().rss - begun < 200 * _MIB


@pytest.mark.attack
def test_attack_of_mutated_answers_costs_their_sender_the_round_alone(folder, monkeypatch):
    fuzzed(folder, monkeypatch, 1_600, seed=1)


@pytest.mark.slow
@pytest.mark.attack
def test_attack_of_seventy_thousand_mutated_answers(folder, monkeypatch):
    fuzzed(folder, monkeypatch, 70_000, seed=2)
