"""Which settings a command takes: those that something reads."""

from pathlib import Path

import hydra
import pytest

import configs
from foundation.command import unresolved
from foundation.errors import UserError
from foundation.settings import check_settings

FOLDER = Path(configs.__path__[0])
PARTIAL = {"base", "run", "training"}
COMMANDS = [path.stem for path in sorted(FOLDER.glob("*.yaml")) if path.stem not in PARTIAL]
SCAN = "+modality@modality.radiology_volumes=radiology_volumes"


def check(command: str, *overrides: str) -> None:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        check_settings(unresolved(hydra.compose(command, list(overrides))), command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_its_own_settings(command):
    check(command)


@pytest.mark.parametrize("cohort", [path.stem for path in sorted((FOLDER / "cohort").glob("*.yaml"))])
def test_every_cohort_is_taken(cohort):
    check("data", f"cohort={cohort}")
    check("finetune", f"cohort={cohort}")


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("pretrain", ["experiment=glioma_alignment", "control=shuffled"]),
        ("pretrain", [SCAN, "+modality.radiology_volumes.more=1", "~modality.radiology"]),
        ("pretrain", ["+modality.pathology.backbone_args={drop_path_rate: 0.1}"]),
        ("pretrain", ["+trainer.max_time=00:01:00", "+trainer.strategy={_target_: x.Y, z: 1}"]),
        ("pretrain", ["+objective_weights.masked_genes={start: 1, end: 0.1}", "+objective_weights.alignment=2"]),
        ("pretrain", ["+objective.mine={_target_: mine.Objective, margin: 1}", "objective=intra"]),
        ("pretrain", ["compile={mode: default}", "modality.pathology.stain_reference={mean: [1, 2, 3]}"]),
        ("pretrain", ["++data.split_file={file: a.csv, key: pid}"]),
        ("finetune", ["private={epsilon: 8}", "+task.drop_inputs.expression=[TP53]", "+task.head.classes=[a, b]"]),
        ("federated", ["+strategy.local=[batch_norm]", "bank=gaussian", "bank.epsilon=4", "privacy=central"]),
        ("data", ["cohort=folder", "++cohort.declaration={name: x, sources: {fhir: {}}}"]),
        ("assemble", ["+labels.luminal_a={attribute: SUBTYPE, positive: [BRCA_LumA]}"]),
    ],
)
def test_what_a_constructor_or_an_open_setting_takes_is_taken(command, overrides):
    check(command, *overrides)


@pytest.mark.parametrize(
    ("command", "override", "line"),
    [
        ("evaluate", "+data.folder=data/nowhere", "data: nothing reads this setting; drop it"),
        ("evaluate", "+frozen=true", "frozen: nothing reads"),
        ("pretrain", "+stepz=3", "stepz: nothing reads this setting; did you mean 'steps'"),
        ("pretrain", "++data.batch_sise=3", "data.batch_sise: nothing reads this setting; did you mean 'batch_size'"),
        ("pretrain", "+optimizer.betas=[0.9, 0.95]", "optimizer.betas: nothing reads"),
        ("pretrain", "+encoder.depth=3", "encoder.depth: nothing reads"),
        ("pretrain", "+mine={_target_: mine.Objective}", "mine: nothing reads"),
        ("pretrain", "+objective.mine={margin: 1}", "objective.mine: nothing reads"),
        ("pretrain", "+pretrained=runs/x", "pretrained: nothing reads"),
        ("finetune", "+task.target=idh", "task.target: nothing reads"),
        ("federated", "+federation.sever=x", "federation.sever: .* did you mean 'server'"),
        ("data", "+cohort.declarations={name: x}", "cohort.declarations: .* did you mean 'declaration'"),
    ],
)
def test_what_nothing_reads_is_refused(command, override, line):
    with pytest.raises(UserError, match=line):
        check(command, override)


def test_a_key_that_an_experiment_misspells_is_refused(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ndata:\n  batch_sise: 8\n")
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"])
    with pytest.raises(UserError, match=r"data\.batch_sise: .* did you mean 'batch_size'"):
        check_settings(unresolved(cfg), "pretrain")


@pytest.mark.parametrize(("command", "name"), [("evaluate", "run"), ("finetune", "pretrained"), ("card", "evaluation")])
def test_null_is_refused_where_something_has_to_be_given(command: str, name: str):
    check(command, f"{name}=given")
    with pytest.raises(UserError, match=rf"^{name}: found null, but {command} needs one"):
        check(command, f"{name}=null")
