"""A pretrained encoder on disk, and runs of a head over simulated hospitals."""

import json
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from finetune.federated.assemble import settle

Configure = Callable[..., DictConfig]
SITES = ("riverside", "northgate", "lakeview")  # northgate has no genomics; summit is held out


@pytest.fixture(scope="session")
def pretrained(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder as its portable folder."""
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    build().encoder.save_pretrained(folder)
    return folder


@pytest.fixture
def configured(pretrained: Path, small_cohort: Path, tmp_path: Path) -> Configure:
    """The config of a run of two rounds in this process."""

    def compose(*overrides: str) -> DictConfig:
        settings = [
            f"pretrained={pretrained}",
            f"data.folder={small_cohort}",
            f"output={tmp_path / 'run'}",
            "federation=serial",
            "rounds=2",
            "steps_per_round=4",
            "data.batch_size=8",
            "reliability=null",  # some forty exchanges, which tests of other things need not wait for
            "calibration=null",
        ]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("finetune_federated", [*settings, *overrides])
        settle(cfg)
        return cfg

    return compose


def add_causes(cohort: Path) -> None:
    """Gives every patient of a cohort's folder a `cause`: of events, one in three is another cause's."""
    for path in cohort.glob("*/patients.parquet"):
        table = pd.read_parquet(path)
        table["cause"] = table["os_event"] * (1 + (np.arange(len(table)) % 3 == 0))
        table.to_parquet(path)
    content = json.loads((cohort / "cohort.json").read_text())
    content["dictionary"]["labels"] += ["cause"]
    (cohort / "cohort.json").write_text(json.dumps(content))
