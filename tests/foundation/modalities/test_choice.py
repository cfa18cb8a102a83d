"""Lists of modalities in settings: none empty, no name twice or unknown."""

import pytest
from omegaconf import OmegaConf

from finetune.assemble import task_modalities
from foundation.errors import UserError
from foundation.modalities.choice import chosen

KNOWN = ("pathology", "report", "record")
REFUSED = {
    "none": ([], r"task\.modalities: found \[\]; name some of pathology, report, record, or null for all"),
    "one twice": (["record", "report", "record"], r"task\.modalities: names 'record' twice; name each modality once"),
    "one unknown": (["recrod"], r"task\.modalities: the encoder has no 'recrod'; it has pathology, report, record"),
}


@pytest.mark.parametrize(("names", "words"), REFUSED.values(), ids=REFUSED)
def test_a_list_that_chooses_nothing_clear_is_refused_by_its_setting(names: list[str], words: str):
    with pytest.raises(UserError, match=words):
        chosen("task.modalities", names, KNOWN)


def test_the_order_is_the_lists():
    assert chosen("task.modalities", ["record", "pathology"], KNOWN) == ["record", "pathology"]


def test_a_task_that_names_a_modality_twice_is_refused_before_it_trains():
    class Encoder:
        modalities = dict.fromkeys(KNOWN)

    with pytest.raises(UserError, match="names 'record' twice"):
        task_modalities(OmegaConf.create({"modalities": ["record", "record"]}), Encoder())  # type: ignore[arg-type]
