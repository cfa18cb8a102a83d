"""A server that sends mutated orders: a hospital answers each with one line, and builds nothing of them."""

import itertools
import logging
import os
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from flwr.app import Context, Message, RecordDict
from hydra import compose, initialize_config_module

from foundation.errors import UserError
from foundation.federation.deployment.flower_patches import identify_process
from foundation.federation.ledger.files import load
from foundation.federation.planning import plan_of
from foundation.federation.policy.contract import TEMPLATE
from foundation.federation.site.app import app
from foundation.federation.site.config import Site
from foundation.federation.wire.messages import Decline, Order, pack_order, unpack_reply
from tests.foundation.federation.fuzz import Mutator

KINDS = ("train", "evaluate", "query.statistics")
_MIB = 2**20
_RENEWED = 100  # orders after which the hospital begins another ledger, which it reads with every order
WEIGHTS = {"encoder.fusion.patient": np.zeros(4, np.float32), "encoder.modalities.genomics.seen": np.zeros(1)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital that stops where it would compose a config of a plan that was let in."""

    def stop(*_: object) -> None:
        raise UserError("no patients here")

    monkeypatch.setattr("foundation.federation.site.gate.compose_config", stop)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # or pytest would keep every line
    (tmp_path / "policy.yaml").write_text(TEMPLATE.read_text().replace("approval: owner", "approval: rules"))
    content = {"name": "riverside", "data": str(tmp_path / "data"), "policy": "policy.yaml"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    site = Site.load(tmp_path / "site.yaml")  # once: reading its files takes longer than reading an order
    monkeypatch.setattr("foundation.federation.site.app.Site.of_node", lambda _: site)
    identify_process()
    return tmp_path


def whole_orders() -> list[RecordDict]:
    orders = []
    for more in (["statistics=[counts]"], ["strategy=scaffold", "compression=int8"], ["privacy=local"]):
        with initialize_config_module("configs", version_base="1.3"):
            sites = "sites=[riverside,northgate,lakeview]"
            cfg = compose("federated", ["experiment=demo", sites, "output=x", "data.batch_size=16", *more])
        plan = plan_of(cfg)
        orders += [pack_order(Order(plan, WEIGHTS, "run-1", number, control=WEIGHTS)) for number in (0, 1)]
    return orders


def fuzzed(home: Path, messages: int, seed: int) -> None:
    mutator, orders, numbers = Mutator(seed), whole_orders(), itertools.count(1)
    begun = 0
    for number in range(messages):
        if number % _RENEWED == 0:
            for path in home.glob("ledger.jsonl*"):
                path.unlink()
            begun = begun or psutil.Process().memory_info().rss
        order = mutator.mutated(mutator.draw.choice(orders))
        message = Message(order, 1, mutator.draw.choice(KINDS), group_id="0")
        message.metadata.__dict__["_message_id"] = str(next(numbers))
        reply = app(message, Context(1, 1, {"site": str(home / "site.yaml")}, RecordDict(), {}))
        answer = unpack_reply(reply.content)
        assert isinstance(answer, Decline) and len(answer.reason) < 600
        assert answer.reason.isprintable() and "x" * 300 not in answer.reason and "oc.env" not in answer.reason
    assert load(home / "ledger.jsonl").problems == []
    assert psutil.Process().memory_info().rss - begun < 200 * _MIB


@pytest.mark.attack
def test_attack_of_mutated_orders_gets_one_line_each(home: Path):
    fuzzed(home, 400, seed=1)


@pytest.mark.slow
@pytest.mark.attack
def test_attack_of_thirty_thousand_mutated_orders(home: Path):
    fuzzed(home, 30_000, seed=2)
