import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

from pathlib import Path

import foundation  # noqa: F401  # isort: skip  # before torch and timm, whose import it mends

# What the checked modules import would be compiled anew, not read from its cache, under the hook: it comes before.
import beartype  # noqa: F401
import scipy.stats  # noqa: F401
import timm  # noqa: F401
import transformers.modeling_utils  # noqa: F401
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
MODALITIES = ROOT / "foundation" / "modalities"

# Shapes written in signatures are checked wherever the tests call them.
install_import_hook(
    [
        "finetune.heads",
        "foundation.blocks",
        "foundation.encoder",
        "foundation.fusion",
        *(f"foundation.modalities.{path.stem}" for path in MODALITIES.glob("*.py")),
        *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODALITIES.glob("*/encoder.py")),
        "foundation.objectives",
        "foundation.output",
        "foundation.retrieval",
    ],
    "beartype.beartype",
)

import dataclasses  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402

import hydra  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from foundation.data import synthetic  # noqa: E402
from foundation.data.pack import pack  # noqa: E402
from foundation.encoder import MultimodalEncoder  # noqa: E402
from foundation.modalities.genomics.encoder import Genomics  # noqa: E402
from foundation.modalities.pathology.encoder import Pathology  # noqa: E402
from foundation.modalities.record.encoder import Record  # noqa: E402
from foundation.modalities.report.encoder import Report  # noqa: E402
from foundation.run_record import RunRecord  # noqa: E402

Configure = Callable[..., DictConfig]
GENES = ["TP53", "EGFR", "IDH1", "PTEN"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on several threads, and one thread gives the same sums everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


PATIENTS = (24, 20, 18, 16)  # riverside; northgate has no genomics, lakeview no images; summit is held out


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded cohort with fewer patients, prepared: small enough to train on in seconds."""
    folder = tmp_path_factory.mktemp("small")
    sites = [dataclasses.replace(site, patients=count) for site, count in zip(synthetic.SITES, PATIENTS, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SITES", tuple(sites))
        synthetic.write(folder / "raw")
    found = pack(folder / "raw", folder / "demo")
    facts = {key: found[key] for key in ("name", "digest", "synthetic")} | {"hospitals": list(found["found"])}
    with RunRecord.open(folder / "demo", "python -m foundation.data prepare", {}, 0, (), facts):
        pass
    return folder / "demo"


@pytest.fixture
def configure(small_cohort: Path) -> Configure:
    """Composes a small run's config: nothing watches pretraining, but where a test asks for that."""

    def compose(*overrides: str, command: str = "pretrain") -> DictConfig:
        common = ["experiment=demo", "data.batch_size=8", "progress=false", f"data.folder={small_cohort}"]
        common += ["speed_every=0", "monitor_every=0"] if command == "pretrain" else []
        with hydra.initialize_config_module("configs", version_base="1.3"):
            return hydra.compose(command, [*common, *overrides])

    return compose


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
