"""What every command says: help, one line on a misspelt setting, one line that names a missing folder."""

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.catalogue import entry_of
from foundation.command import command
from foundation.data.pack import pack
from foundation.run_record import RunRecord

# By command: a misspelt override, what is meant, and an override that names a folder which is not there (empty
# where a command reads none).
COMMANDS = {
    "foundation.data prepare": ("outputt=x", "output", "cohort.root={}"),
    "foundation.data declare": ("foldr=x", "folder", "folder={}"),
    "foundation.data validate": ("strikt=true", "strict", "cohort.root={}"),
    "foundation.data.portals": ("patientz=3", "patients", ""),
    "foundation.data describe": ("foldr=x", "folder", "folder={}"),
    "foundation.data withdrawn": ("purg=true", "purge", "folder={}"),
    "pretrain": ("stepz=3", "steps", "data.folder={}"),
    "pretrain.controls": ("contrls=[intra]", "controls", "data.folder={}"),
    "pretrain.federated": ("steps_per_rond=3", "steps_per_round", "data.folder={}"),
    "foundation.federation.ledger verify": ("ledgerz=[a]", "ledgers", "ledgers=[{}]"),
    "foundation.federation.plans": ("aktion=list", "action", "site={}/site.yaml"),
    "foundation.federation.schedule": ("every_dayz=3", "every_days", ""),
    "foundation.federation.status": ("formatt=text", "format", "run={}"),
    "foundation.federation.report": ("otherz=[a]", "others", "run={}"),
    "foundation.federation.deployment.provision": ("sitez=[a]", "sites", ""),
    "foundation.federation.deployment.join": ("sitte=x", "site", "invitation={}"),
    "foundation.federation.deployment.superlink": ("sever=x", "server", "server={}"),
    "foundation.federation.deployment.supernode": ("keyy=x", "key", "site={}/site.yaml"),
    "finetune": ("data.folderr=x", "folder", "pretrained={}"),
    "finetune.evaluate": ("resample=3", "resamples", "run={}"),
    "finetune.federated": ("rouns=3", "rounds", "pretrained={}"),
    "finetune.federated.evaluate": ("replicate=3", "replicates", "run={}"),
    "finetune.biomarkers": ("subse=all", "subset", "run={}"),
    "finetune.stratification": ("subse=all", "subset", "run={}"),
    "finetune.trial": ("subse=all", "subset", "run={}"),
    "serve.export": ("exampel=P1", "example", "run={}"),
    "serve": ("porrt=8081", "port", "bundle={}"),
    "serve.clinic start": ("oncee=true", "once", "bundle={}"),
    "serve.predict": ("secondz=1", "seconds", "patient={}/patient.json"),
    "serve.feedback look": ("quartr=2027-Q1", "quarter", "folder={}"),
    "serve.card": ("licence=mit", "license", "evaluation={}"),
    "serve.card questions": ("fil=x", "file", ""),
    "serve.card check": ("cart=x", "card", "card={}"),
    "serve.card diff": ("befor=x", "before", "before={}"),
}
# Packages that take a good part of a second to import, and that no help needs.
LARGE = {
    *("torch", "torchvision", "pytorch_lightning", "torchmetrics", "timm", "transformers", "deepspeed", "opacus"),
    *("flwr", "ray", "datasets", "pyarrow", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "monai", "lifelines"),
}
# They write into a folder that is there already.
STANDING = {
    "foundation.federation.plans",
    "foundation.federation.report",
    "foundation.federation.deployment.superlink",
    "foundation.federation.deployment.supernode",
    "serve.card questions",
    "serve.card check",
}
_OWN = ["cohort=folder", "cohort.name=own"]
REQUIRED = {
    "serve.clinic start": ["archive.address=http://127.0.0.1:1/dicom-web"],
    "foundation.data prepare": _OWN,
    "foundation.data validate": _OWN,
    "pretrain.controls": ["label=biomarker"],
    "foundation.federation.deployment.join": ["site=riverside"],
}
DECLARATION = """
name: own
synthetic: true
description: Made by a test.
hospitals: [alpha]
dictionary: {genes: [TP53], expression_unit: tpm, record: [{name: age, kind: continuous}]}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command in this process, as `python -m` would: exit code, stdout, stderr."""

    def called(command: str, *arguments: str) -> tuple[int, str, str]:
        name, *action = command.split()
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{name}.__main__")
        monkeypatch.setattr(sys, "argv", [f"python -m {name}", *action, *arguments])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        handlers = logging.root.handlers[:]
        try:
            module.main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        finally:
            GlobalHydra.instance().clear()
            logging.root.handlers[:] = handlers  # Hydra's own would write to a stream that this test closes
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def small_site(tmp_path_factory) -> Path:
    """A prepared cohort of one hospital and four patients, who have a record."""
    root = tmp_path_factory.mktemp("own")
    (root / "sites" / "alpha").mkdir(parents=True)
    (root / "sites" / "alpha" / "patients.csv").write_text("patient_id\na\nb\nc\nd\n")
    (root / "sites" / "alpha" / "record.csv").write_text("patient_id,age\na,50\nb,60\nc,70\nd,80\n")
    (root / "sites" / "cohort.yaml").write_text(DECLARATION)
    pack(root / "sites", root / "own")
    with RunRecord.open(root / "own", "python -m foundation.data prepare", {}, 0):
        pass
    return root / "own"


TRAINERS = "cpu, ddp, deepspeed_zero1, deepspeed_zero2, deepspeed_zero3, deepspeed_zero3_offload, fsdp, gpu"


def only_line(stderr: str) -> str:
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_settings(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    name, _, action = command.partition(" ")
    entry = entry_of(name, action or "main")
    assert entry is not None
    assert out.startswith(f"usage: consilium {entry.name} [setting=value ...]\n   or: python -m {command} [")
    for line in ("\nSettings\n", "\n  seed=0", *([] if command in STANDING else ["\n  output="])):
        assert line in out
    assert "Traceback" not in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.process
@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_that_is_large(command):
    done = start(*command.split(), "--help", options=["-X", "importtime"])
    assert done.returncode == 0, done.stderr
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "foundation.command" in modules
    assert not LARGE & modules


@pytest.mark.process
@pytest.mark.parametrize("command", COMMANDS)
def test_help_that_nobody_reads_ends_without_a_word(command):
    near, far = os.pipe()
    os.close(near)
    line = [sys.executable, "-m", *command.split(), "--help"]
    done = subprocess.run(line, stdout=far, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(far)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.process
def test_work_that_nobody_reads_ends_without_a_word():
    code = "from foundation.command import command\n@command('card')\ndef main(cfg): print('works', flush=True)\nmain()"
    near, far = os.pipe()
    os.close(near)
    line = [sys.executable, "-c", code, "evaluation=x"]
    done = subprocess.run(line, stdout=far, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(far)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_takes_long_to_load_is_the_first_line(monkeypatch, capsys):
    @command("predict", loads="sys, no_such_package")
    def main(cfg):
        print("works")

    monkeypatch.setattr(sys, "argv", ["predict"])
    for rank, line in (("0", "loading no_such_package\n"), ("1", "")):
        GlobalHydra.instance().clear()
        monkeypatch.setenv("RANK", rank)
        main()
        assert capsys.readouterr().out == f"{line}works\n"


@pytest.mark.parametrize(("command", "misspelt", "meant"), [(name, *facts[:2]) for name, facts in COMMANDS.items()])
def test_a_misspelt_setting_is_one_line_with_the_right_one(run, tmp_path, command, misspelt, meant):
    code, out, err = run(command, misspelt)
    assert code == 2
    line = only_line(err)
    assert misspelt.split("=")[0] in line
    assert line.endswith(f"did you mean '{meant}'?")
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "override"), [(name, facts[2]) for name, facts in COMMANDS.items() if facts[2]])
def test_a_missing_folder_is_one_line_that_names_it(run, tmp_path, command, override):
    nowhere = tmp_path / "nowhere"
    code, _, err = run(command, *REQUIRED.get(command, []), override.format(nowhere), *given(command, tmp_path))
    assert code == 2
    assert str(nowhere) in only_line(err)
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def given(command: str, folder: Path) -> list[str]:
    return [f"output={folder / 'out'}"] if command in ("foundation.data prepare", "serve.export") else []


@pytest.mark.parametrize(("command", "setting"), [("finetune", "pretrained"), ("finetune.evaluate", "run")])
def test_a_setting_that_must_be_given_is_named(run, command, setting):
    code, _, err = run(command)
    assert code == 2
    assert setting in only_line(err)


def test_an_error_inside_an_object_that_is_built_from_config_is_its_own_line(run, small_site, tmp_path):
    folder, output = f"data.folder={small_site}", f"output={tmp_path / 'out'}"
    backbone = "modality.pathology.backbone=nonsense"
    code, _, err = run("pretrain", *_OWN, folder, output, backbone, "data.test_hospitals=[]")
    assert code == 2
    assert only_line(err).startswith("error: modality.pathology.backbone: no model 'nonsense'; timm")


@pytest.mark.parametrize(
    ("override", "options"),
    [
        (
            "trainer=cup",
            TRAINERS,
        ),
        ("encoder=huge", "base, large, small, tiny"),
    ],
)
def test_an_unknown_option_lists_what_there_is(run, override, options):
    code, _, err = run("pretrain", override)
    assert code == 2
    assert only_line(err).endswith(f"available: {options}")


@pytest.mark.parametrize("arguments", [[], ["prepair", "cohort=demo"]])
def test_data_needs_its_action(run, arguments):
    code, _, err = run("foundation.data", *arguments)
    assert code == 2
    found = arguments[0] if arguments else "nothing"
    actions = "declare, validate, features, prepare, describe or withdrawn"
    assert only_line(err) == f"error: python -m foundation.data: '{found}' given; say {actions}"


def start(*arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *options, "-m", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pretrain", "stepz=3"], "error: Could not override 'stepz'; did you mean 'steps'?"),
        (["finetune", "pretrained={}"], "error: {}: no config.json, so it is no encoder folder"),
        (["serve.predict", "{}/patient.json"], "error: {}/patient.json: no such file"),
    ],
    ids=["misspelt", "no folder", "no file"],
)
def test_a_process_ends_with_code_2_and_one_line(tmp_path, arguments, line):
    done = start(*(argument.format(tmp_path / "x") for argument in arguments))
    assert done.returncode == 2
    assert only_line(done.stderr).startswith(line.format(tmp_path / "x"))


@pytest.mark.process
def test_a_process_that_refuses_a_hospital_half_way_says_nothing_else(tmp_path):
    (tmp_path / "sites" / "alpha").mkdir(parents=True)
    (tmp_path / "sites" / "alpha" / "patients.csv").write_text("patient_id\n")
    (tmp_path / "sites" / "cohort.yaml").write_text(DECLARATION)
    root, output = tmp_path / "sites", tmp_path / "out"
    arguments = ["cohort=folder", "cohort.name=own", f"cohort.root={root}", f"output={output}"]
    done = start("foundation.data", "prepare", *arguments)
    assert done.returncode == 2
    assert only_line(done.stderr).startswith(f"error: {root}/alpha/patients.csv: no patient")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sites"]
