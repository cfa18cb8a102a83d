"""A process that trains starts without Weights & Biases, and may import it afterwards."""

import subprocess
import sys

_SCRIPT = """
import sys
import foundation.modalities.backbones
import timm.utils
assert "wandb" not in sys.modules, "timm has imported it"
assert callable(timm.utils.update_summary)
import wandb
assert wandb.__version__ and sys.modules["wandb"] is wandb
"""


def test_timm_is_whole_without_wandb_which_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
