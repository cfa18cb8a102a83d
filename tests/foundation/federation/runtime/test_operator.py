"""The operator of a deployed run: a data dictionary, no patient, and settings that hospitals can be asked for."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.planning import plan_of
from foundation.federation.policy import Declined
from foundation.federation.runtime.command import federate
from foundation.federation.runtime.operator import check_askable
from foundation.federation.server.checkpoints import Checkpoints
from tests.foundation.federation.gates import gate_of, site_of

SITES = "sites=[riverside,northgate,lakeview,summit]"
DEPLOYED = [SITES, "federation=deployment"]


class ReachedError(UserError):
    """The run is handed to the SuperLink."""


def handed_on(cfg: DictConfig, checkpoints: Checkpoints) -> None:
    raise ReachedError(checkpoints.run)


@pytest.fixture
def dictionary(small_cohort: Path, tmp_path: Path) -> Path:
    """What an operator has of a cohort."""
    folder = tmp_path / "dictionary"
    folder.mkdir()
    shutil.copy(small_cohort / "cohort.json", folder)
    return folder


def test_a_deployed_run_begins_without_a_patient_on_the_operators_machine(configure, dictionary, tmp_path, monkeypatch):
    monkeypatch.setattr("foundation.federation.runtime.deployed.deploy", handed_on)
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were looked for"))
    more = [f"data.folder={dictionary}", f"output={tmp_path / 'run'}"]
    with pytest.raises(ReachedError):
        federate(configure(*DEPLOYED, *more, command="federated"), "python -m pretrain.federated")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["name"] == "demo" and record["builds_on"] == []


@pytest.mark.parametrize(
    "setting",
    [
        "compile={}",
        "data.num_workers=2",
        "data.validation_fraction=0.5",
        "data.split_seed=7",
        "trainer.devices=4",
        "loggers=[csv]",
        "+trainer.plugins=[os]",
    ],
)
def test_what_a_hospital_decides_itself_cannot_be_asked(configure, setting: str):
    cfg = configure(*DEPLOYED, "output=x", setting, command="federated")
    with pytest.raises(UserError, match="cannot be asked of a hospital, which decides it itself; leave it at") as error:
        check_askable(cfg, plan_of(cfg))
    assert str(error.value).startswith(setting.split("=")[0].lstrip("+"))


@pytest.mark.parametrize("setting", ["objective=full", "encoder=small", "privacy=central", "bank=gaussian", "rounds=3"])
def test_what_a_plan_has_words_for_can_be_asked(configure, setting: str):
    cfg = configure(*DEPLOYED, "output=x", setting, command="federated")
    check_askable(cfg, plan_of(cfg))


def test_a_cohort_that_was_prepared_against_another_dictionary_is_named(configure, dictionary, tmp_path):
    content = json.loads((dictionary / "cohort.json").read_text())
    content["dictionary"]["genes"] = content["dictionary"]["genes"][::-1]
    (dictionary / "cohort.json").write_text(json.dumps(content))
    cfg = configure(SITES, f"output={tmp_path}", command="federated")
    site = site_of(cfg, tmp_path)
    cfg.data.folder = str(dictionary)
    with pytest.raises(Declined, match="plan: dictionary: not the one that this hospital prepared its cohort against"):
        gate_of(site, cfg).admit()
