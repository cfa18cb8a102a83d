"""What a command that prepares tables waits for before it works: no package that reads other files than it has."""

import subprocess
import sys

_HEAVY = ("torch", "anndata", "nibabel", "pydicom", "scipy", "skimage", "sqlalchemy", "matplotlib", "transformers")
_HEAVY += ("h5py", "tifffile")
_SCRIPT = f"""
import sys
import foundation.data.__main__, foundation.data.grow, foundation.data.pack, foundation.run_record
from foundation.data.preparation import preparations
from foundation.data.genes import GeneVocabulary
assert preparations() and GeneVocabulary.shipped().resolve(["TP53"]).symbol
foundation.run_record._hardware()
print([name for name in {_HEAVY} if name in sys.modules])
"""


def test_tables_are_prepared_without_what_reads_images_scans_and_models() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
