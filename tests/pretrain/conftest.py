"""Configs that point at the small cohort."""

from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

Configure = Callable[..., DictConfig]


@pytest.fixture
def configure(small_cohort: Path) -> Configure:
    def compose(*overrides: str, command: str = "pretrain") -> DictConfig:
        common = ["experiment=demo", "data.batch_size=8", "progress=false", f"data.folder={small_cohort}"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            return hydra.compose(command, [*common, *overrides])

    return compose
