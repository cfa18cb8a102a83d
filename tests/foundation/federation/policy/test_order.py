"""The facts of an order, and what its config asks to be built."""

import pytest
from omegaconf import OmegaConf

from foundation.federation.policy import (
    Declined,
    SitePolicy,
)
from foundation.federation.policy.order import shipped_targets
from tests.foundation.federation.policy.orders import facts, order, policy


def config(**more: object):
    return OmegaConf.create(
        {
            "seed": 0,
            "output": "runs/x",
            "rounds": 8,
            "steps_per_round": 16,
            "objective": {"alignment": {"_target_": "foundation.objectives.alignment.Alignment"}},
            "modality": {
                "record": {"_target_": "foundation.modalities.record.encoder.Record"},
                "report": {"_target_": "foundation.modalities.report.encoder.Report"},
            },
            "data": {"modalities": None},
            "strategy": {"_target_": "foundation.federation.strategies.averaging.FedAvg"},
            **more,
        }
    )


def test_the_facts_of_an_order_come_from_its_config():
    found = facts(config())
    assert (found.objectives, found.modalities, found.strategy) == (("alignment",), ("record", "report"), "FedAvg")
    assert (found.rounds, found.round, found.steps) == (8, 3, 16)
    assert found.unresolved == ()
    assert facts(config(data={"modalities": ["report"]})).modalities == ("report",)
    assert facts(config(output="runs/y")).config_digest == found.config_digest
    assert facts(config(seed=1)).config_digest != found.config_digest


@pytest.mark.parametrize(
    "target",
    ["os.system", "foundation.modalities.report.encoder.os.system", "subprocess.run", "hydra.utils.get_method"],
)
@pytest.mark.parametrize("place", ["trainer", "objective.alignment.reader", "callbacks.0"])
def test_a_config_that_builds_what_no_shipped_config_names_is_declined(target, place):
    cfg = config(callbacks=[{"_target_": "pytorch_lightning.Trainer"}])
    OmegaConf.update(cfg, f"{place}._target_", target, force_add=True)
    with pytest.raises(Declined, match=f"targets: the config builds {target}"):
        order(SitePolicy(), facts(cfg))
    order(policy(targets=[target]), facts(cfg))


def test_the_shipped_configs_are_let_through():
    assert {"pytorch_lightning.Trainer", "foundation.engine.deepspeed.DeepSpeed"} <= shipped_targets()
    order(SitePolicy(), facts(config()))


def test_a_setting_that_would_be_filled_in_at_the_site_is_declined(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    cfg = config(data={"modalities": None, "folder": "${oc.env:SECRET}"})
    with pytest.raises(Declined, match=r"config: data\.folder holds") as declined:
        order(SitePolicy(), facts(cfg))
    assert "s3cret" not in str(declined.value)
