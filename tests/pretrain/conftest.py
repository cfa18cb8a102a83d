"""A cohort small enough to train on in seconds, and the configs that point at it."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig

from foundation.data import synthetic
from foundation.data.pack import pack
from foundation.run_record import RunRecord

PATIENTS = (22, 20, 18, 14)  # riverside; northgate has no genomics, lakeview no images; summit is held out
Configure = Callable[..., DictConfig]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    sites = [dataclasses.replace(site, patients=count) for site, count in zip(synthetic.SITES, PATIENTS, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SITES", tuple(sites))
        synthetic.write(folder / "raw")
    found = pack(folder / "raw", folder / "demo")
    with RunRecord.open(folder / "demo", "python -m foundation.data prepare", {}, 0, (), {"name": found["name"]}):
        pass
    return folder / "demo"


@pytest.fixture
def configure(small: Path) -> Configure:
    def compose(*overrides: str, command: str = "pretrain") -> DictConfig:
        common = ["experiment=demo", "data.batch_size=8", "progress=false", f"data.folder={small}"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            return hydra.compose(command, [*common, *overrides])

    return compose
