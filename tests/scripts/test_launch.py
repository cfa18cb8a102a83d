"""The launchers: what they start, that they go on where a run stopped, and small runs of each for real."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "launch"
LAUNCHERS = sorted(FOLDER.glob("*.sh"))
ENVIRONMENT = sys.prefix
# A step of well under a second.
TOY = ["experiment=demo", "data.batch_size=8", "modality.pathology.max_images=1", "modality.radiology.max_images=1"]
TOY += ["progress=false", "validate_every=0", "monitor_every=0", "data.num_workers=0"]


def launch(name: str, *settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(FOLDER / f"{name}.sh"), *settings],
        env=os.environ | {"VENV": ENVIRONMENT, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def well(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """An environment whose programs note how they were called, a line a call, in its file `calls`."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "torchrun", "srun", "scontrol", "scancel"):
        write_stub(tmp_path, name)
    write_stub(tmp_path, "scontrol", '[[ "$1" != show ]] || echo first-node')
    return tmp_path


def write_stub(environment: Path, name: str, more: str = "") -> None:
    path = environment / "bin" / name
    path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {environment}/calls\n{more}\n')
    path.chmod(0o755)


def calls(environment: Path) -> list[str]:
    path = environment / "calls"
    return path.read_text().splitlines() if path.exists() else []


def value(call: str, setting: str) -> str:
    """What a setting comes to: the last one counts."""
    return re.findall(rf" {re.escape(setting)}=(\S*)", call)[-1]


def checkpoint(run: Path) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    return run


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_a_launcher_is_a_screen_long_and_says_how_to_call_it(path: Path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 75
    head = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    assert any(f"scripts/launch/{path.name}" in line for line in head)
    assert "set -euo pipefail" in lines
    assert f"`{path.relative_to(ROOT)}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.sh")), ids=lambda path: path.stem)
def test_shellcheck_has_nothing_to_say(path: Path):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: bash scripts/setup_system.sh")
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "trace"),
    [
        ("pretrain_one_gpu", "checkpoints/last.ckpt"),
        ("pretrain_node", "checkpoints/last.ckpt"),
        ("federated_simulation", "history.json"),
    ],
)
def test_a_launcher_resumes_a_run_that_was_begun_and_settings_win(stubs: Path, name: str, trace: str):
    output = stubs / "run"
    settings = ["trainer.devices=3", "experiment=demo", f"output={output}"]
    well(launch(name, *settings, VENV=str(stubs), PROCESSES="2"))
    (output / trace).parent.mkdir(parents=True)
    (output / trace).touch()
    well(launch(name, *settings, VENV=str(stubs), PROCESSES="2"))
    first, second = (call for call in calls(stubs) if " pretrain" in call)
    assert [value(call, "resume") for call in (first, second)] == ["false", "true"]
    assert all(call.endswith(" ".join(settings)) for call in (first, second))


def test_a_node_starts_a_process_a_gpu(stubs: Path):
    write_stub(stubs, "nvidia-smi", "printf 'GPU 0\\nGPU 1\\nGPU 2\\n'")
    well(launch("pretrain_node", VENV=str(stubs)))
    (call,) = calls(stubs)[-1:]
    assert call.startswith("torchrun --standalone --nproc_per_node=3 -m pretrain ")
    assert value(call, "trainer.devices") == "3"


def test_folds_pretrain_and_test_on_the_same_split_and_leave_what_is_finished(stubs: Path):
    output = stubs / "folds"
    finished = output / "fold_0" / "pretrain"
    finished.mkdir(parents=True)
    (finished / "run.json").write_text('{"status": "finished"}')
    checkpoint(output / "fold_0" / "finetune")
    settings = ["task=survival", "data.stratify=biomarker", "cohort=demo", f"output={output}"]
    well(launch("finetune_folds", *settings, VENV=str(stubs), FOLDS="2", PRETRAIN="experiment=demo steps=9"))
    tuned, evaluated, pretrained, *_, table = calls(stubs)
    assert "-m finetune " in tuned and value(tuned, "pretrained") == str(finished) and value(tuned, "resume") == "true"
    assert value(evaluated, "run") == str(output / "fold_0" / "finetune")
    assert "-m pretrain experiment=demo steps=9" in pretrained and value(pretrained, "resume") == "false"
    assert "task=" not in pretrained
    for setting, expected in {"data.stratify": "biomarker", "cohort": "demo", "data.folds": "2"}.items():
        assert value(tuned, setting) == value(pretrained, setting) == expected
    assert (value(tuned, "data.fold"), value(pretrained, "data.fold")) == ("0", "1")
    assert table == f"python scripts/launch/folds_table.py {output}"


def test_folds_take_an_encoder_from_elsewhere(stubs: Path):
    output = stubs / "folds"
    well(launch("finetune_folds", "pretrained=elsewhere", f"output={output}", VENV=str(stubs), FOLDS="2"))
    assert not [call for call in calls(stubs) if "-m pretrain" in call]
    assert [value(call, "pretrained") for call in calls(stubs) if "-m finetune " in call] == ["elsewhere"] * 2


def test_folds_of_other_settings_are_not_mixed(stubs: Path):
    output = stubs / "folds"
    well(launch("finetune_folds", "task=survival", f"output={output}", VENV=str(stubs), FOLDS="2"))
    done = launch("finetune_folds", "task=biomarker", f"output={output}", VENV=str(stubs), FOLDS="2")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {output}/settings.txt: begun as 'FOLDS=2 PRETRAIN= task=survival")


def test_a_deployed_federation_whose_server_does_not_start_ends_in_its_line(stubs: Path):
    for home, does in {
        "server": "echo 'error: port 8000 is taken'; exit 2",
        "sites/riverside": "exec sleep 60",
    }.items():
        (stubs / "federation" / home).mkdir(parents=True)
        (stubs / "federation" / home / "start.sh").write_text(f"{does}\n")
    done = launch("federated_deployment", VENV=str(stubs), FEDERATION=str(stubs / "federation"))
    assert done.returncode != 0
    assert "error: port 8000 is taken" in done.stderr
    assert not [call for call in calls(stubs) if "pretrain.federated" in call]


@pytest.mark.process
@pytest.mark.slow
def test_one_device_pretrains_and_leaves_a_finished_run(small_cohort: Path, tmp_path: Path):
    settings = [*TOY, "trainer=cpu", "data.pin_memory=false", "steps=3", f"data.folder={small_cohort}"]
    well(launch("pretrain_one_gpu", *settings, f"output={tmp_path / 'run'}"))
    assert status(tmp_path / "run") == "finished"


@pytest.mark.process
def test_torchrun_pretrains_on_two_processes(small_cohort: Path, tmp_path: Path):
    settings = [*TOY, "trainer.accelerator=cpu", "steps=3", f"data.folder={small_cohort}"]
    well(launch("pretrain_node", *settings, f"output={tmp_path / 'run'}", PROCESSES="2"))
    assert status(tmp_path / "run") == "finished"
    samples = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]["samples"]
    assert 24 < samples["objective:alignment"] <= 48, "two processes of 8 patients, three steps"


@pytest.mark.slow
@pytest.mark.process
def test_folds_end_in_a_table_in_which_each_patient_is_tested_once(small_cohort: Path, tmp_path: Path):
    data = f"data.folder={small_cohort}"
    pretrain = " ".join([*TOY, "steps=2"])
    settings = ["task=biomarker", data, "steps=4", "progress=false", f"output={tmp_path / 'folds'}"]
    said = well(launch("finetune_folds", *settings, FOLDS="2", PRETRAIN=pretrain))
    splits = [json.loads((tmp_path / f"folds/fold_{fold}/finetune/split.json").read_text()) for fold in range(2)]
    cohort = [patient for part in ("train", "validation", "test") for patient in splits[0][part]]
    assert sorted(splits[0]["test"] + splits[1]["test"]) == sorted(cohort)
    table = json.loads((tmp_path / "folds" / "folds.json").read_text())
    assert [fold["evaluation"] for fold in table["folds"]] == [f"fold_{n}/evaluation/evaluation.json" for n in range(2)]
    auc = table["summary"]["auc"]
    assert auc["folds"] == 2
    assert auc["mean"] == pytest.approx(sum(fold["auc"]["value"] for fold in table["folds"]) / 2)
    assert f"| mean (SD) | {sum(fold['n'] for fold in table['folds'])} | {auc['mean']:.3f} (" in said


@pytest.mark.slow
@pytest.mark.process
def test_a_simulated_federation_runs_its_rounds(small_cohort: Path, tmp_path: Path):
    settings = [*TOY, "rounds=1", "steps_per_round=2", f"data.folder={small_cohort}", f"output={tmp_path / 'run'}"]
    well(launch("federated_simulation", *settings))
    assert status(tmp_path / "run") == "finished"


@pytest.mark.slow
@pytest.mark.process
def test_a_deployed_federation_runs_its_rounds_and_its_ledgers_agree(small_cohort: Path, tmp_path: Path):
    sites, federation = ["riverside", "northgate"], tmp_path / "federation"
    port = free_ports(1)[0]
    provision = [sys.executable, "-m", "foundation.federation.deployment.provision", f"sites=[{','.join(sites)}]"]
    provision += [f"port={port}", f"output={federation}", f"data={small_cohort}"]
    subprocess.run(provision, check=True, capture_output=True)
    for site, free in zip(sites, free_ports(2), strict=True):  # fewer patients than a hospital's own policy would have
        (federation / "sites" / site / "policy.yaml").write_text("{}\n")
        start = federation / "sites" / site / "start.sh"
        start.write_text(re.sub(r"PORT:-\d+", f"PORT:-{free}", start.read_text()))
    settings = [*TOY, "rounds=1", "steps_per_round=2", "data.test_hospitals=[]", f"output={tmp_path / 'run'}"]
    said = well(
        launch(
            "federated_deployment",
            *settings,
            f"data.folder={small_cohort}",
            SITES=",".join(sites),
            FEDERATION=str(federation),
            DATA=str(small_cohort),
        )
    )
    assert status(tmp_path / "run") == "finished"
    assert said.splitlines()[-1] == "3 ledgers: nothing was altered"


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"])
