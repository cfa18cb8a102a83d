"""The README's commands exist, with settings that exist; and those of the embedded cohort run from first to last."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from foundation.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "foundation.data": "data",
    "foundation.data.portals": "assemble",
    "pretrain": "pretrain",
    "pretrain.controls": "controls",
    "pretrain.federated": "federated",
    "foundation.federation.ledger": "ledger",
    "foundation.federation.deployment.provision": "provision",
    "foundation.federation.deployment.join": "join",
    "foundation.federation.plans": "plans",
    "foundation.federation.schedule": "schedule",
    "foundation.federation.status": "status",
    "foundation.federation.report": "report_federation",
    "foundation.federation.deployment.superlink": "superlink",
    "foundation.federation.deployment.supernode": "supernode",
    "finetune": "finetune",
    "finetune.crossvalidate": "crossvalidate",
    "finetune.search": "search",
    "finetune.evaluate": "evaluate",
    "finetune.federated": "finetune_federated",
    "finetune.federated.evaluate": "evaluate_federated",
    "serve.export": "export",
    "serve": "serve",
    "serve.predict": "predict",
    "serve.batch": "batch",
    "serve.drift": "drift",
    "serve.feedback": "feedback",
    "serve.card": "card",
    "serve.release": "release",
    "serve.clinic": "clinic",
}


def lines_of(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


COMMANDS = [line for line in lines_of("README.md") if line.startswith("python -m")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_composes(line: str):
    _, _, module, *rest = shlex.split(line.rstrip("& "), comments=True)
    overrides = [word for word in rest if "=" in word]
    with initialize_config_module("configs", version_base="1.3"):
        compose(rest[0] if rest[0] in ("validate", "features", "describe") else CONFIGS[module], overrides)


def test_every_command_is_shown():
    shown = {shlex.split(line.rstrip("& "), comments=True)[2] for line in COMMANDS}
    assert shown == set(CONFIGS)


def test_the_scripts_that_are_named_exist():
    named = set(re.findall(r"scripts/[\w./]+\.(?:sh|py)", (ROOT / "README.md").read_text()))
    assert named
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_page_fits_in_120_columns(page: str):
    """Commands, too, which go on behind a backslash; tables may be wider, for they have no breaks."""
    lines = (ROOT / page).read_text().splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


# What makes a command of the README a matter of seconds; its settings stay as the page has them.
TOY = {
    "pretrain": "steps=4 progress=false",
    "pretrain.controls": "steps=2 seeds=[0] controls=[random,shuffled]",
    "pretrain.federated": "rounds=2 steps_per_round=2",
    "finetune": "steps=4 progress=false",
    "finetune.evaluate": "resamples=20",
    "finetune.federated": "federation=serial",
    "finetune.federated.evaluate": "federation=serial replicates=20",
}


def toy(line: str, port: int) -> str:
    """A line of the README's embedded path, made small, on a port that is free."""
    line = re.sub(r"\s+#.*", "", line).replace("8080", str(port))
    module = line.split()[2] if line.startswith("python -m") else ""
    return f"{line} {TOY.get(module, '')}".replace("python", shlex.quote(sys.executable), 1)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(2000)
def test_the_embedded_path_of_the_readme_runs_from_first_to_last(tmp_path: Path):
    lines = [line for line in lines_of("README.md") if "demo" in line and "deployment" not in line]
    port = free_ports(1)[0]
    assert len(lines) > 15
    stop = f"{shlex.quote(sys.executable)} -m serve action=stop output=runs/demo/serve"
    script = "\n".join(["set -euo pipefail", f"trap '{stop} || true' EXIT", *(toy(line, port) for line in lines)])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    runs = tmp_path / "runs" / "demo"
    assert json.loads((runs / "evaluation" / "run.json").read_text())["status"] == "finished"
    assert (runs / "fedadam" / "report.html").is_file() and (runs / "card" / "card.html").is_file()
    answers = [line for line in done.stdout.splitlines() if "probabilities" in line]
    assert answers, done.stdout[-2000:]
