"""The page of `--help`, from the comments of config files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from foundation.help import Comments, page

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DEFAULTS = {path.stem: yaml.safe_load(path.read_text()).get("defaults", []) for path in CONFIGS.glob("*.yaml")}
FRAGMENTS = {entry for entries in DEFAULTS.values() for entry in entries if isinstance(entry, str)}
PRIMARY = sorted(DEFAULTS.keys() - FRAGMENTS)
OWN = """
# Trains what is given.
# For example: steps=3
defaults:
  - shared
  - size: small            # how large
  - part@inner.part: one
  - _self_

steps: ???                 # of the optimiser
sites: []                  # required: names
name: "a # b"              # a hash in quotes is no comment
plain: a#b
inner:                     # what is nested
  width: 4                 # of it
  deep:
    depth: null
outer: {_target_: no.Matter}
listed:                    # in order
  - one
  - two
rate: 0.5
"""
SHARED = """
seed: 0                    # of chance
rate: 1.0                  # of learning
hydra:
  run: {dir: .}            # not a setting of ours
"""
CONFIG = {
    "steps": "???",
    "sites": [],
    "name": "a # b",
    "plain": "a#b",
    "inner": {"width": 8, "deep": {"depth": None}},
    "outer": {"_target_": "no.Matter"},
    "listed": ["one", "two"],
    "rate": 0.5,
    "seed": 0,
    "hydra": {"runtime": {"choices": {"size": "small", "part@inner.part": "one"}}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A primary config, one that it begins with, and two groups."""
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "shared.yaml").write_text(SHARED)
    for option in ("size/small", "size/large", "part/one", "part/two"):
        (tmp_path / option).parent.mkdir(exist_ok=True)
        (tmp_path / f"{option}.yaml").touch()
    return tmp_path


def test_comments_are_those_of_keys_and_the_first_that_says_something_counts(folder: Path):
    comments = Comments.read(folder, "own")
    assert comments.top == "Trains what is given. For example: steps=3"
    assert comments.groups == {"size": "how large", "part@inner.part": ""}
    assert comments.settings == {
        "steps": "of the optimiser",
        "sites": "required: names",
        "name": "a hash in quotes is no comment",
        "plain": "",
        "inner": "what is nested",
        "inner.width": "of it",
        "inner.deep": "",
        "inner.deep.depth": "",
        "outer": "",
        "listed": "in order",
        "rate": "of learning",
        "seed": "of chance",
    }


def test_page_shows_required_settings_groups_with_options_and_values_as_typed(folder: Path):
    lines = page(folder, "own", ["consilium own", "python -m own"], "It trains.", CONFIG).splitlines()
    assert lines[:2] == ["usage: consilium own [setting=value ...]", "   or: python -m own [setting=value ...]"]
    assert [" ".join(line.split()) for line in lines[lines.index("Required") :][:4]] == [
        "Required",
        "steps=??? of the optimiser",
        "sites=[] names",
        "",
    ]
    assert [" ".join(line.split()) for line in lines[lines.index("Settings") :]][:11] == [
        "Settings",
        "name=a # b a hash in quotes is no comment",
        "plain=a#b",
        "inner: what is nested",
        "inner.width=8 of it",
        "inner.deep.depth=null",
        "listed=[one,two] in order",
        "rate=0.5 of learning",
        "seed=0 of chance",
        "",
        lines[-2],
    ]
    assert "  size=small                              how large: large, small" in lines
    assert "  part@inner.part=one                     one, two" in lines


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_module("configs", version_base="1.3"):
        content = OmegaConf.to_container(compose(name, list(overrides), return_hydra_config=True))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@pytest.mark.parametrize("name", PRIMARY)
def test_pages_of_the_commands_name_every_group_and_setting_of_their_config(name: str):
    config = composed(name)
    text = page(CONFIGS, name, ["x"], "", config)
    choices = [key for key in config["hydra"]["runtime"]["choices"] if not key.startswith("hydra")]
    leaves = [key for key, value in config.items() if key not in ("hydra", *choices) and not isinstance(value, dict)]
    for key in [*choices, *leaves]:
        assert f"\n  {key}=" in text


def test_values_are_those_that_the_other_arguments_lead_to():
    text = page(CONFIGS, "pretrain", ["x"], "", composed("pretrain", "experiment=demo", "steps=7", "trainer=ddp"))
    for line in ("experiment=demo", "steps=7", "optimizer.learning_rate=0.002", "trainer=ddp"):
        assert re.search(rf"^  {re.escape(line)}(\s|$)", text, flags=re.MULTILINE)
