"""A site's warm process: what every order would else import anew."""

import subprocess
import sys

_SCRIPT = """
import importlib, sys
from foundation.federation.deployment.orders import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
before = set(sys.modules)
from foundation.command import compose_installed
from foundation.federation.planning import installed_tasks
compose_installed("federated", ["experiment=demo"])
installed_tasks()
import datasets, foundation.modalities.pathology.encoder, foundation.objectives.alignment
import pretrain.evaluation, pretrain.federated.task, pretrain.fit
print(*sorted(set(sys.modules) - before))
"""


def test_an_order_imports_next_to_nothing() -> None:
    new = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in new} <= {"foundation", "pretrain"}
    assert len(new) < 20
