"""A modality is its package: found by looking, whole, and named by nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

import configs
from foundation.data.dictionary import DataDictionary
from foundation.data.packages import modules
from foundation.data.preparation import Preparation, in_reading_order, preparations
from foundation.data.sources import sources_model
from foundation.data.storage import Storage, hide_inputs, storages
from foundation.errors import UserError
from foundation.modalities.base import Modality
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.record.encoder import Record
from foundation.modalities.request import read_form

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(Path(configs.__path__[0], "modality").glob("*.yaml"))
NAMES = sorted(modules("storage"))
DICTIONARY = DataDictionary.model_validate(
    {
        "genes": ["TP53", "IDH1"],
        "record": [{"name": "age", "kind": "continuous"}, {"name": "sex", "kind": "categorical", "values": ["F", "M"]}],
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_has_every_part(name):
    storage, preparation = modules("storage")[name].STORAGE, modules("preparation")[name].PREPARATION
    assert isinstance(storage, Storage) and storage.name == name
    assert isinstance(preparation, Preparation) and preparation.storage is storage
    assert hasattr(modules("request")[name], "FORM")
    assert [path.stem for path in CONFIGS if package_of(path) == name], "a config names an encoder of it"


def package_of(path: Path) -> str:
    return str(OmegaConf.load(path)._target_).split(".")[2]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_names_an_encoder_of_its_package(path):
    kind = get_class(OmegaConf.load(path)._target_)
    assert issubclass(kind, Modality) and kind.name == package_of(path)


def test_modalities_stand_in_their_order_and_are_read_after_those_they_are_made_from():
    assert [name for name, storage in storages().items() if storage.core] == [
        "pathology", "radiology", "genomics", "report", "record",
    ]  # fmt: skip
    assert list(preparations()) == list(storages())
    names = [preparation.storage.name for preparation in in_reading_order()]
    assert names.index("record") < names.index("report")


def test_sources_have_the_fields_of_every_modality():
    fields = {field for preparation in preparations().values() for field in preparation.sources}
    assert set(sources_model().model_fields) == {"patients"} | fields
    assert {"pathology", "expression", "reports", "record"} <= fields


def literals(path: Path) -> set[str]:
    return {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}


# The demo's writer draws its own patients; portals know what each archive calls its files.
KNOW_MODALITIES = {"synthetic.py"}


def test_the_data_room_and_serving_name_no_modality():
    files = [*(ROOT / "foundation/data").glob("*.py"), *(ROOT / "serve").glob("*.py"), ROOT / "foundation/encoder.py"]
    named = {path.name: literals(path) & set(NAMES) for path in files if path.name not in KNOW_MODALITIES}
    assert {name: words for name, words in named.items() if words} == {}


def test_the_data_room_imports_no_modality_and_cutting_slides_no_torch():
    for path in (ROOT / "foundation/data").rglob("*.py"):
        imported = {
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        assert not any(name.startswith(("foundation.modalities", "foundation.encoder")) for name in imported), path
    code = "import sys, foundation.modalities.pathology.tiling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_run_takes_a_further_modality_from_the_command_line():
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", ["+modality@modality.further=record"])
    assert list(cfg.modality) == ["pathology", "radiology", "genomics", "report", "record", "further"]


def test_inputs_that_hold_the_target_are_hidden_and_what_is_empty_then_is_left_out():
    sample = {
        "genomics": {"expression": [1.0, 2.0], "mutations": [float("nan"), 1.0], "copy_number": [float("nan")] * 2},
        "record": {"age": 61.0, "sex": "F"},
        "report": "Glioma.",
    }
    hidden = hide_inputs(sample, DICTIONARY, {"mutations": ["IDH1"], "expression": ["TP53"], "record": ["age"]})
    assert list(hidden) == list(sample)
    assert hidden["genomics"]["expression"].tolist()[1] == 2.0 and hidden["genomics"]["mutations"][1] != 1.0
    assert hidden["record"] == {"age": None, "sex": "F"} and hidden["report"] == "Glioma."
    everything = {"mutations": ["IDH1"], "expression": ["TP53", "IDH1"], "record": ["age", "sex"]}
    assert list(hide_inputs(sample, DICTIONARY, everything)) == ["report"]


def test_hiding_what_no_modality_has_is_an_error():
    with pytest.raises(UserError, match=r"task\.drop_inputs: nothing to hide is called 'mutation'; choose from expr"):
        hide_inputs({"report": "Glioma."}, DICTIONARY, {"mutation": ["IDH1"]})


def test_an_encoder_refuses_a_cohort_of_another_vocabulary():
    Genomics(8, ["TP53", "IDH1"]).check_cohort(DICTIONARY, "ours")
    with pytest.raises(UserError, match="it knows 1 genes, cohort ours has 2 in another list"):
        Genomics(8, ["TP53"]).check_cohort(DICTIONARY, "ours")
    columns = [column.model_dump() for column in DICTIONARY.record]
    Record(8, columns).check_cohort(DICTIONARY, "ours")
    with pytest.raises(UserError, match="its record columns are sex, age, cohort ours has age, sex"):
        Record(8, columns[::-1]).check_cohort(DICTIONARY, "ours")


def test_a_form_is_read_by_the_modality_that_it_is_of():
    assert read_form("pathology", {"kind": "features", "dim": 3}).dim == 3
    assert read_form("radiology", {"kind": "images", "size": 64}).size == 64
    with pytest.raises(ValueError, match="features"):
        read_form("radiology", {"kind": "features", "dim": 3})
    with pytest.raises(ValueError, match="no modality os; this release knows "):
        read_form("os", {"kind": "text"})
