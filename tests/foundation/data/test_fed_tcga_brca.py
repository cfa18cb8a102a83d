"""FLamby's breast cancer table through the declaration that anyone's folder has, where the table is at hand."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from foundation.data.cohort import Cohort
from foundation.data.declaration import declare
from foundation.data.pack import pack
from foundation.data.splits import configured_split

ROOT = Path(__file__).parents[3]
TABLES = (ROOT / os.environ.get("CONSILIUM_DATA", "../shared/data") / "fed_tcga_brca").resolve()


@pytest.fixture(scope="module")
def config() -> Any:
    if not TABLES.is_dir():
        pytest.skip(f"the table is not at {TABLES}; set CONSILIUM_DATA to the folder that holds fed_tcga_brca")
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        found = compose("finetune", overrides=["cohort=fed_tcga_brca", f"cohort.root={TABLES}", "pretrained=none"])
    return OmegaConf.to_container(found, resolve=True)


@pytest.fixture(scope="module")
def cohort(config, tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("brca") / "packed"
    pack(TABLES, folder, declare(config["cohort"]["declaration"], Path("cohort.declaration")))
    return Cohort(folder)


def test_the_centres_are_flambys(cohort):
    counts = {"northeast": 311, "west": 206, "south": 196, "midwest": 162, "europe": 162, "canada": 51}
    assert cohort.patients["hospital"].value_counts().to_dict() == counts


def test_features_and_outcomes_are_those_of_the_table(cohort):
    table = pd.read_csv(TABLES / "brca.csv").set_index("pid").loc[cohort.patients.index]
    assert (cohort.patients["os_event"] == table["E"]).all()
    assert (cohort.patients["os_days"] == table["T"]).all()
    features = table.drop(columns=["E", "T"])
    assert [column.name for column in cohort.dictionary.record] == features.columns.tolist() and len(features.T) == 39
    patient = cohort.patients.index[0]
    assert cohort.sample(patient)["record"] == features.loc[patient].to_dict()


def test_the_split_is_flambys(config, cohort):
    parts = pd.read_csv(TABLES / "train_test_split.csv").set_index("pid")["fold"]
    split = configured_split(cohort, config["data"])
    assert split.train == sorted(parts.index[parts == "train"])
    assert split.test == sorted(parts.index[parts == "test"])
    assert split.validation == []
