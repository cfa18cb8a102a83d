"""What every command makes of its settings before it reads them."""

import pytest
from omegaconf import OmegaConf

from foundation.command import _names_as_text


@pytest.mark.parametrize(
    ("held_out", "names"), [(None, []), ([], []), ("north", ["north"]), (55, ["55"]), ([55, "44"], ["55", "44"])]
)
def test_hospitals_held_out_are_a_list_of_text(held_out, names):
    cfg = OmegaConf.create({"cohort": {"name": 7, "test_hospitals": held_out}, "sites": None})
    cfg.data = {"test_hospitals": "${cohort.test_hospitals}"}
    _names_as_text(cfg)
    assert cfg.data.test_hospitals == names
    assert cfg.cohort == {"name": "7", "test_hospitals": names}
    assert cfg.sites is None


def test_null_stays_where_the_command_fills_it_in():
    cfg = OmegaConf.create({"cohort": {"test_hospitals": None}, "data": {"test_hospitals": None}})
    _names_as_text(cfg, ["data.test_hospitals"])
    assert cfg == {"cohort": {"test_hospitals": []}, "data": {"test_hospitals": None}}


def test_settings_that_a_command_lacks_stay_away():
    cfg = OmegaConf.create({"run": "???", "data": {"folder": "here"}})
    _names_as_text(cfg)
    assert cfg == {"run": "???", "data": {"folder": "here"}}


@pytest.mark.parametrize("key", ["split", "predict", "subgroups", "strata.fixed_on", "tool.covariates"])
def test_a_single_name_is_a_list_of_one_and_not_its_letters(key):
    cfg = OmegaConf.create({key.split(".")[0]: {"fixed_on": "train", "covariates": "train"} if "." in key else "train"})
    _names_as_text(cfg)
    assert OmegaConf.select(cfg, key) == ["train"]


def test_one_modality_is_a_list_of_one_and_null_stays_all():
    cfg = OmegaConf.create({"task": {"modalities": "record"}, "data": {"modalities": None}})
    _names_as_text(cfg)
    assert cfg == {"task": {"modalities": ["record"]}, "data": {"modalities": None}}
