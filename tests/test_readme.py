"""The README's commands are ones that exist, with settings that exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "foundation.data": "data",
    "foundation.data.portals": "assemble",
    "pretrain": "pretrain",
    "pretrain.controls": "controls",
    "pretrain.federated": "federated",
    "foundation.federation.ledger": "ledger",
    "foundation.federation.deployment.provision": "provision",
    "foundation.federation.report": "report_federation",
    "foundation.federation.deployment.superlink": "superlink",
    "foundation.federation.deployment.supernode": "supernode",
    "finetune": "finetune",
    "finetune.evaluate": "evaluate",
    "serve.export": "export",
    "serve": "serve",
    "serve.predict": "predict",
    "serve.card": "card",
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
        compose(rest[0] if rest[0] in ("validate", "describe") else CONFIGS[module], overrides)


def test_every_command_is_shown():
    shown = {shlex.split(line.rstrip("& "), comments=True)[2] for line in COMMANDS}
    assert shown == set(CONFIGS)


def test_the_scripts_that_are_named_exist():
    named = set(re.findall(r"scripts/[\w./]+\.(?:sh|py)", (ROOT / "README.md").read_text()))
    assert named
    assert all((ROOT / name).is_file() for name in named)
