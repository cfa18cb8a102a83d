"""A server needs no training stack: what it imports is numpy's, Flower's and its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[4] / "configs"
STACK = ["torch", "pytorch_lightning", "transformers", "timm", "ray", "opacus", "deepspeed", "datasets"]
SERVER = [
    "weights.aggregation",
    "weights.lazy",
    "weights.sharing",
    "wire.messages",
    "wire.compression",
    "ledger",
    "policy",
    "strategies",
    "strategies.robust",
    "strategies.scaffold",
    "strategies.server_optimisers",
    "privacy",
    "privacy.strategy",
    "secure.server",
    "statistics",
    "statistics.collect",
    "server.app",
    "runtime.server_process",
    "deployment.superlink",
    "deployment.superlink_app",
    "deployment.supernode",
    "deployment.orders",
]
IMPORTS = """
import importlib, json, sys, time
loaded = {}
for name in sys.argv[2].split(","):
    importlib.import_module(f"foundation.federation.{name}")
    loaded[name] = [time.process_time(), [part for part in sys.argv[1].split(",") if part in sys.modules]]
print(json.dumps(loaded))
"""
COMPONENTS = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # importing them fails
from hydra import compose, initialize_config_module
from foundation.federation.server.components import ServerComponents
with initialize_config_module("configs", version_base="1.3"):
    for choice in sys.argv[2].split(","):
        cfg = compose("federated", ["experiment=demo", "sites=[riverside,northgate,lakeview]", *choice.split()])
        ServerComponents.of(cfg).task.extension()
"""


def python(code: str, *arguments: list[str]) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", code, *(",".join(names) for names in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def loaded() -> dict[str, tuple[float, list[str]]]:
    """By module, imported in this order: CPU seconds so far, and what of the training stack is loaded by then."""
    modules: dict[str, tuple[float, list[str]]] = json.loads(python(IMPORTS, STACK, SERVER))
    return modules


def test_task_of_the_tests_needs_no_training_stack_to_be_served():
    code = "import sys; import tests.foundation.federation.linear_task; print([name for name in sys.modules])"
    names = python(code)
    assert not [part for part in STACK if f"'{part}'" in names]


@pytest.mark.parametrize("name", SERVER)
def test_server_imports_no_training_stack(loaded: dict[str, tuple[float, list[str]]], name: str):
    assert loaded[name][1] == []


def test_aggregation_takes_less_than_a_second_of_cpu_to_import(loaded: dict[str, tuple[float, list[str]]]):
    seconds = loaded["weights.aggregation"][0]
    print(f"{seconds:.2f} s, the start of Python included")
    assert seconds < 1


def test_server_builds_its_components_without_a_training_stack():
    groups = {
        group: sorted(path.stem for path in (CONFIGS / group).glob("*.yaml")) for group in ("strategy", "privacy")
    }
    choices = [f"{group}={name}" for group, names in groups.items() for name in names if name != "distributed"]
    assert len(choices) > 15
    python(COMPONENTS, STACK, [*choices, "compression=int8", "privacy=distributed secure=secagg_plus", "bank=gaussian"])
