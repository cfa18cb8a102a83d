"""A site's warm process: what every order would else import anew."""

import subprocess
import sys

_SCRIPT = """
import importlib, sys
from foundation.federation.deployment.orders import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
before = set(sys.modules)
import pretrain.evaluation, pretrain.federated.task, pretrain.fit
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""


def test_an_order_imports_nothing_of_weight() -> None:
    new = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout.split()

    assert set(new) & {"torch", "pytorch_lightning", "timm", "transformers", "sklearn", "pandas", "peft"} == set()
