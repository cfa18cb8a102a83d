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
