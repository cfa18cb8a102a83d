"""Who may import whom, as the design's table of rooms says."""

import ast
from collections import defaultdict
from collections.abc import Iterator
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
        "flwr.superlink.grid",
        "flwr.supernode",
    },
    "foundation/federation/deployment/inflating.py": {
        "flwr.app.message.message",
        "flwr.app.metadata",
        "flwr.common.constant",
        "flwr.supercore.inflatable.inflatable_object",
        "flwr.supercore.inflatable.inflatable_utils",
    },
    "foundation/federation/deployment/node_process.py": {"flwr.supernode.cli.flower_supernode"},
    "foundation/federation/deployment/parcels.py": {"flwr.supercore.inflatable.inflatable_object"},
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
    "foundation/federation/deployment/superlink_app.py": {
        "flwr.common.constant",
        "flwr.superlink.cli.flower_superlink",
    },
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
# Where a config is read: commands, and the modules that make objects of it. Everything else takes plain arguments.
CONFIG_READERS = {
    "finetune/assemble.py",
    "finetune/crossvalidate.py",
    "finetune/crossvalidation.py",
    "finetune/evaluate.py",
    "finetune/exact.py",
    "finetune/federated/assemble.py",
    "finetune/federated/evaluate.py",
    "finetune/federated/fit.py",
    "finetune/federated/settings.py",
    "finetune/federated/reliability_settings.py",
    "finetune/federated/survival_settings.py",
    "finetune/federated/task.py",
    "finetune/fit.py",
    "finetune/folds.py",
    "finetune/private.py",
    "finetune/search.py",
    "foundation/command.py",
    "foundation/sweep.py",
    "foundation/engine/run.py",
    "foundation/engine/trainer.py",
    "foundation/federation/deployment/join.py",
    "foundation/federation/deployment/orders.py",
    "foundation/federation/deployment/provision.py",
    "foundation/federation/deployment/superlink.py",
    "foundation/federation/deployment/supernode.py",
    "foundation/federation/plan/contract.py",
    "foundation/federation/planning.py",
    "foundation/federation/plans.py",
    "foundation/federation/runtime/command.py",
    "foundation/federation/runtime/deployed.py",
    "foundation/federation/runtime/operator.py",
    "foundation/federation/runtime/run.py",
    "foundation/federation/runtime/server_process.py",
    "foundation/federation/schedule.py",
    "foundation/federation/server/app.py",
    "foundation/federation/server/components.py",
    "foundation/federation/site/composition.py",
    "foundation/federation/site/config.py",
    "foundation/federation/site/job.py",
    "foundation/federation/site/launch.py",
    "foundation/federation/status/__main__.py",
    "foundation/federation/task.py",
    "pretrain/assemble.py",
    "pretrain/evaluation.py",
    "pretrain/federated/bank/embeddings.py",
    "pretrain/federated/bank/settings.py",
    "pretrain/federated/settings.py",
    "pretrain/federated/task.py",
    "pretrain/fit.py",
    "serve/batch.py",
    "serve/drift.py",
    "serve/export.py",
    "serve/predict.py",
}
LONGEST_FILE = 300
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements, in functions, too, but for those that only a type checker runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from statements(child)


def imported_modules(path: Path) -> set[str]:
    """Modules of this project that a file runs when it is imported or used."""
    names: set[str] = set()
    for statement in statements(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names |= {statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)}
    return names & MODULES.keys()


def level_graphs() -> dict[str, dict[str, set[str]]]:
    """By package, which of its members (modules and packages) imports which."""
    graphs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module, path in MODULES.items():
        for other in imported_modules(path):
            here, there = module.split("."), other.split(".")
            shared = next(
                (at for at, (one, two) in enumerate(zip(here, there, strict=False)) if one != two),
                min(len(here), len(there)),
            )
            if shared < min(len(here), len(there)):
                graphs[".".join(here[:shared])][here[shared]].add(there[shared])
    return graphs


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    pending = [start]
    while pending:
        new = graph.get(pending.pop(), set()) - seen
        seen |= new
        pending += new
    return seen


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
        assert where in ("foundation/command.py", "foundation/sweep.py") or path.name == "__main__.py"
    if "flwr" in tops:
        assert where.startswith(("foundation/federation/", "pretrain/federated/"))
    if "ts" in tops:
        assert where == "serve/torchserve/consilium_handler.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internals_of_flower_are_imported_where_they_are_listed(path: Path):
    internals = {name for name in imports(path) if name.split(".")[0] == "flwr"} - FLOWER
    assert internals == FLOWER_INTERNALS.get(path.relative_to(ROOT).as_posix(), set())


def test_no_members_of_a_package_import_each_other_in_a_circle():
    circles = {
        (package, member)
        for package, graph in level_graphs().items()
        for member in graph
        if member in reachable(graph, member)
    }
    assert not circles


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_configs_are_read_at_entry_points(path: Path):
    where = path.relative_to(ROOT).as_posix()
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    if names & {"DictConfig", "instantiate"} and path.name != "__main__.py":
        assert where in CONFIG_READERS


def test_config_readers_are_files_that_read_configs():
    for where in CONFIG_READERS:
        text = (ROOT / where).read_text()
        assert "DictConfig" in text or "instantiate" in text, where


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_fit_in_the_head(path: Path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_files_of_tests_fit_in_the_head():
    files = {str(path.relative_to(ROOT)): path for path in (ROOT / "tests").rglob("*.py")}
    lengths = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    assert not {name for name, length in lengths.items() if length > LONGEST_FILE}
