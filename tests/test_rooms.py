"""Who may import whom, as the design's table of rooms says."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "foundation": set(),
    "pretrain": {"foundation"},
    "finetune": {"foundation"},
    "serve": {"foundation", "finetune"},
}
FLOWER = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.simulation"}  # what Flower calls public
# Flower's other modules by the file that needs them: no public call serves, and a release may change them.
FLOWER_INTERNALS = {
    "foundation/federation/deployment/app_bundle.py": {"flwr.cli.build"},
    "foundation/federation/deployment/control_client.py": {
        "flwr.common.constant",
        "flwr.proto.control_pb2",
        "flwr.proto.fab_pb2",
        "flwr.supercore.control",
        "flwr.supercore.error",
        "flwr.supercore.interceptors",
    },
    "foundation/federation/deployment/flower_patches.py": {
        "flwr.supercore",
        "flwr.supercore.inflatable",
        "flwr.supercore.run",
        "flwr.supercore.task_identity",
        "flwr.superlink",
        "flwr.supernode",
    },
    "foundation/federation/deployment/node_process.py": {"flwr.supernode.cli.flower_supernode"},
    "foundation/federation/deployment/registration.py": {
        "flwr.proto.fleet_pb2",
        "flwr.supercore.interceptors",
        "flwr.supernode.fleet_http_client",
        "flwr.supernode.node_auth_http_interceptor",
    },
    "foundation/federation/deployment/runtime_client.py": {
        "flwr.common.constant",
        "flwr.proto.runtime_pb2",
        "flwr.supercore.constant",
        "flwr.supercore.heartbeat",
        "flwr.supercore.interceptors",
        "flwr.supercore.retry",
        "flwr.supercore.runtime",
        "flwr.supernode.runtime.run_clientapp",
    },
    "foundation/federation/deployment/superlink.py": {"flwr.common.constant", "flwr.superlink.cli.flower_superlink"},
    "foundation/federation/secure/records.py": {
        "flwr.client.mod",
        "flwr.common",
        "flwr.common.secure_aggregation.secaggplus_constants",
        "flwr.compat.common.recorddict_compat",
    },
    "foundation/federation/secure/workflow.py": {
        "flwr.common",
        "flwr.server.compat.legacy_context",
        "flwr.server.workflow.constant",
        "flwr.server.workflow.secure_aggregation.secaggplus_workflow",
    },
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_obey_the_rooms(path: Path):
    room = path.relative_to(ROOT).parts[0]
    tops = {name.split(".")[0] for name in imports(path)}
    assert tops & ROOMS.keys() <= ROOMS[room] | {room}
    where = path.relative_to(ROOT).as_posix()
    if "hydra" in tops:
        assert where == "foundation/command.py" or path.name == "__main__.py"
    if "flwr" in tops:
        assert where.startswith(("foundation/federation/", "pretrain/federated/"))
    if "ts" in tops:
        assert where == "serve/torchserve/consilium_handler.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internals_of_flower_are_imported_where_they_are_listed(path: Path):
    internals = {name for name in imports(path) if name.split(".")[0] == "flwr"} - FLOWER
    assert internals == FLOWER_INTERNALS.get(path.relative_to(ROOT).as_posix(), set())
