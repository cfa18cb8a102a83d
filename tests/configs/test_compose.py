"""Every shipped config composes, and what it describes can be built."""

import functools
from pathlib import Path

import hydra
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from jsonschema import Draft202012Validator
from omegaconf import DictConfig, OmegaConf

import configs
from finetune.assemble import build_head
from finetune.heads.base import Head
from foundation.command import instantiate, plain
from foundation.data.dictionary import DataDictionary
from foundation.engine.trainer import build_trainer
from foundation.objectives.base import Objective
from pretrain.assemble import build_encoder, build_objectives

FOLDER = Path(configs.__path__[0])
DICTIONARY = DataDictionary.model_validate(
    {
        "genes": ["TP53", "IDH1", "EGFR"],
        "expression_unit": "zscore",
        "record": [
            {"name": "age", "kind": "continuous", "center": 60, "scale": 12},
            {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
        ],
    }
)
# What each command refuses to guess.
REQUIRED = {
    "batch": ["bundle=x", "patients=x"],
    "biomarkers": ["run=x"],
    "card": ["evaluation=x"],
    "controls": ["label=x"],
    "crossvalidate": ["pretrained=x"],
    "declare": ["folder=x"],
    "evaluate": ["run=x"],
    "evaluate_federated": ["run=x"],
    "export": ["run=x"],
    "features": ["extractor.backbone=x"],
    "finetune": ["pretrained=x"],
    "finetune_federated": ["pretrained=x"],
    "predict": ["patient=x"],
    "search": ["pretrained=x"],
    "serve": ["bundle=x"],
    "stratification": ["run=x"],
    "trial": ["run=x"],
}


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def compose(command: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose(command, [*REQUIRED.get(command, []), *overrides])


@functools.cache
def groups_of(command: str) -> frozenset[str]:
    """The groups that a primary config's defaults, or those of a config that they include, name."""
    taken: set[str] = set()
    for entry in OmegaConf.load(FOLDER / f"{command}.yaml").get("defaults") or []:
        if isinstance(entry, DictConfig):
            taken |= {str(group) for group in entry}
        elif entry != "_self_":
            taken |= groups_of(entry)
    return frozenset(taken)


def commands_that_take(group: str) -> list[str]:
    return [name for name in COMMANDS if group in groups_of(name)]


# These write into a folder that is there already, or a file, or nothing.
STANDING = {"plans", "superlink", "supernode", "report_federation", "card_check", "card_questions", "release"}
PARTIAL = {"base", "rounds", "run", "training"}  # included by commands, themselves none
COMMANDS = [path.stem for path in sorted(FOLDER.glob("*.yaml")) if path.stem not in PARTIAL]


def taken(group: str) -> list[tuple[str, str]]:
    return [(command, name) for name in names(group) for command in commands_that_take(group)]


def test_groups_reach_the_commands_that_they_are_for():
    assert commands_that_take("experiment") == ["controls", "federated", "pretrain"]
    assert commands_that_take("trainer") == [
        "controls",
        "crossvalidate",
        "evaluate_federated",
        "federated",
        "finetune",
        "finetune_federated",
        "pretrain",
        "search",
    ]
    assert commands_that_take("task") == ["crossvalidate", "finetune", "finetune_federated", "search"]
    assert commands_that_take("recipe") == ["crossvalidate", "finetune", "search"]
    assert {"demo", "glioma"} <= set(names("experiment"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_resolves(command):
    cfg = compose(command)
    if command not in STANDING:
        assert isinstance(plain(cfg)["output"], str | None)
    assert cfg.seed == 0
    assert not OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize(("command", "experiment"), taken("experiment"))
def test_every_experiment_builds_its_encoder_objectives_and_trainer(command, experiment, tmp_path):
    cfg = compose(command, f"experiment={experiment}")
    for entry in cfg.modality.values():
        if entry.get("weights") and not Path(entry.weights).is_file():
            pytest.skip(f"{entry.weights}: weights that are no part of the project are not there")
    encoder = build_encoder(cfg, DICTIONARY)
    assert list(encoder.modalities) == list(cfg.modality)
    assert encoder.width == cfg.encoder.width
    for name, module in encoder.modalities.items():
        assert isinstance(module, get_class(cfg.modality[name]._target_))
    objectives = build_objectives(cfg)
    assert set(objectives) == set(cfg.objective)
    assert all(isinstance(objective, Objective) for objective in objectives.values())
    trainer = build_trainer(cfg.trainer, tmp_path, 1, cfg.validate_every, cfg.checkpoint_every, False)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.max_steps == 1
    assert Path(cfg.data.folder).name == cfg.cohort.name
    assert list(cfg.data.test_hospitals) == list(cfg.cohort.test_hospitals) != []


@pytest.mark.parametrize(("command", "trainer"), taken("trainer"))
def test_every_trainer_composes(command, trainer):
    cfg = compose(command, f"trainer={trainer}")
    assert cfg.trainer._target_ == "pytorch_lightning.Trainer"
    assert cfg.trainer.gradient_clip_val == 1.0


@pytest.mark.parametrize("trainer", names("trainer"))
def test_every_trainer_that_this_machine_can_hold_is_built(trainer, tmp_path):
    if trainer in ("gpu", "fsdp") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    accelerator = [] if trainer in ("gpu", "cpu", "fsdp") else ["trainer.accelerator=cpu"]
    cfg = compose("pretrain", f"trainer={trainer}", *accelerator)
    found = build_trainer(cfg.trainer, tmp_path, 3, 0, 1, False)
    assert found.num_devices == cfg.trainer.devices
    assert str(found.precision) == cfg.trainer.get("precision", "32-true")
    if trainer.startswith("deepspeed"):
        assert isinstance(found.strategy, get_class(cfg.trainer.strategy._target_))
        assert found.strategy.config["zero_optimization"]["stage"] == int(trainer.removeprefix("deepspeed_zero")[0])


def test_a_trainer_takes_how_often_it_logs_and_on_gpus_how_exactly_it_multiplies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    ddp = ["trainer=ddp", "trainer.accelerator=cpu"]
    assert build_trainer(compose("pretrain", *ddp).trainer, tmp_path, 1, 0, 0, False).log_every_n_steps == 1
    assert chosen == [], "a processor multiplies as it did"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    logged = compose("pretrain", *ddp, "trainer.log_every_n_steps=10")
    assert build_trainer(logged.trainer, tmp_path, 1, 0, 0, False).log_every_n_steps == 10
    assert chosen == ["high"]


@pytest.mark.parametrize(("command", "recipe"), taken("recipe"))
def test_every_recipe_names_a_cohort_and_a_task_that_experts_take(command, recipe):
    cfg = compose(command, f"recipe={recipe}")
    head = build_head(cfg.task, 16, {"pathology": 8})
    assert cfg.method == "experts" and head.reads_features
    assert set(head.targets) <= set(names_of_targets(cfg))
    assert list(cfg.data.test_hospitals) == list(cfg.cohort.test_hospitals) != []


def names_of_targets(cfg: DictConfig) -> list[str]:
    dictionary = cfg.cohort.declaration.dictionary
    return [*dictionary.labels, *dictionary.survival.values()]


@pytest.mark.parametrize("task", names("task"))
def test_every_task_builds_its_head(task):
    cfg = compose("finetune", f"task={task}")
    head = build_head(cfg.task, 16).eval()
    assert isinstance(head, Head)
    answers = head.predict(head(torch.zeros(2, 16)).detach())
    assert len(answers) == 2
    Draft202012Validator(head.prediction_schema()).validate(answers[0])
    again = type(head)(**head.settings())
    assert again.settings() == head.settings()
    assert again.targets == head.targets != []
    assert cfg.task.name == task
    assert cfg.task.modalities is None or set(cfg.task.modalities) < PATIENT
    for channel, symbols in cfg.task.drop_inputs.items():
        assert channel in ("expression", "mutations", "copy_number") and symbols


PATIENT = {"genomics", "pathology", "radiology", "record", "report"}  # of every run, unless taken away


def package(modality: str) -> str:
    """The modality that a config is an encoder of."""
    return str(OmegaConf.load(FOLDER / "modality" / f"{modality}.yaml")._target_).split(".")[2]


def alone(modality: str, *overrides: str) -> DictConfig:
    name = package(modality)
    others = [f"~modality.{other}" for other in PATIENT - {name}]
    added = "" if name in PATIENT else "+"
    return compose("pretrain", *others, f"{added}modality@modality.{name}={modality}", *overrides)


@pytest.mark.parametrize("encoder", names("encoder"))
@pytest.mark.parametrize("modality", names("modality"))
def test_every_encoder_size_takes_every_modality_alone(encoder, modality, tmp_path):
    (tmp_path / "sets.gmt").write_text("GLIOMA\t\tTP53\tIDH1\tEGFR\n")
    asked = {
        "pathways": [f"modality.genomics.gmt={tmp_path}/sets.gmt", "modality.genomics.fewest=2"],
        "pathology_features": ["modality.pathology.dim=1024"],  # else the cohort says it
    }
    cfg = alone(modality, f"encoder={encoder}", *asked.get(modality, []))
    with torch.device("meta"):  # no memory: the largest would not fit beside others
        built = build_encoder(cfg, DICTIONARY)
    assert list(built.modalities) == [package(modality)]
    assert built.width == cfg.encoder.width


def test_sizes_grow():
    with torch.device("meta"):
        sizes = [
            sum(
                value.numel()
                for value in build_encoder(compose("pretrain", f"encoder={size}"), DICTIONARY).parameters()
            )
            for size in ("tiny", "small", "base", "large")
        ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 15e6 and sizes[-1] > 500e6


@pytest.mark.parametrize("cohort", names("cohort"))
def test_every_cohort_but_the_demo_is_read_where_it_lies(cohort):
    own = ["cohort.name=own", "cohort.root=sites"] if cohort == "folder" else []
    cfg = compose("data", f"cohort={cohort}", *own)
    assert cfg.output == f"data/{cfg.cohort.name}"
    assert cfg.cohort.name == ("own" if own else cohort)
    if cohort == "demo":
        assert callable(instantiate(cfg.cohort.source))
    else:
        assert cfg.cohort.source is None
    assert len(set(cfg.cohort.test_hospitals)) == len(cfg.cohort.test_hospitals)
