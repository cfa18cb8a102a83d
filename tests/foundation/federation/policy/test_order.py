"""The facts of an order, from its plan."""

from pathlib import Path

from foundation.federation.planning import plan_of
from foundation.federation.policy import OrderFacts, PrivacyFacts, order_facts
from foundation.federation.policy.order import shipped_targets
from tests.foundation.federation.stub_sites import config


def facts(**more: object) -> OrderFacts:
    cfg = config(Path("x"), rounds=8, steps_per_round=16, deadline=60, **more)
    return order_facts(plan_of(cfg), "r", 3, "pretrain", PrivacyFacts())


def test_the_facts_of_an_order_come_from_its_plan():
    found = facts()
    assert (found.objectives, found.modalities, found.strategy) == ((), ("pathology", "genomics"), "fedavg")
    assert (found.rounds, found.round, found.steps, found.seconds) == (8, 3, 16, 60)
    assert facts(data={"modalities": ["genomics"], "batch_size": 8}).modalities == ("genomics",)


def test_a_plan_is_known_by_what_it_asks_alone():
    found = facts()
    assert facts(output="runs/y").config_digest == facts(memory_mib=1).config_digest == found.config_digest
    assert facts(seed=1).config_digest != found.config_digest


def test_the_shipped_configs_name_what_they_build():
    assert {"pytorch_lightning.Trainer", "foundation.engine.deepspeed.DeepSpeed"} <= shipped_targets()
