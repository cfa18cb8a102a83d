import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

from jaxtyping import install_import_hook

# Shapes written in signatures are checked wherever the tests call them.
install_import_hook(["foundation.fusion", "foundation.retrieval", "foundation.objectives"], "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from foundation.encoder import MultimodalEncoder  # noqa: E402
from foundation.modalities.genomics import Genomics  # noqa: E402
from foundation.modalities.pathology import Pathology  # noqa: E402
from foundation.modalities.record import Record  # noqa: E402
from foundation.modalities.report import Report  # noqa: E402

GENES = ["TP53", "EGFR", "IDH1", "PTEN"]


@pytest.fixture
def encoder() -> MultimodalEncoder:
    torch.manual_seed(0)
    width = 32
    columns = [
        {"name": "age", "kind": "continuous", "center": 60.0, "scale": 10.0, "values": None},
        {"name": "sex", "kind": "categorical", "center": None, "scale": None, "values": ["F", "M"]},
    ]
    return MultimodalEncoder(
        {
            "pathology": Pathology(width, size=32),
            "genomics": Genomics(width, GENES),
            "report": Report(width, layers=1),
            "record": Record(width, columns),
        },
        width,
        fusion_layers=1,
    ).eval()


@pytest.fixture
def samples() -> list[dict]:
    rng = np.random.default_rng(0)

    def genomics() -> dict:
        return {
            "expression": rng.normal(size=4).astype(np.float32),
            "mutations": np.array([1, 0, np.nan, 0], np.float32),
            "copy_number": np.full(4, np.nan, np.float32),
        }

    def tiles(count: int) -> np.ndarray:
        return rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)

    return [
        {"pathology": tiles(3)},
        {"pathology": tiles(1), "genomics": genomics(), "report": "Dense sheets of tumour cells."},
        {"genomics": genomics(), "record": {"age": 50.0, "sex": "M"}},
        {"pathology": tiles(6), "genomics": genomics(), "record": {"age": None, "sex": None}},
    ]
