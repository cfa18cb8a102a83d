"""Tiles and patients a second: from packed data on disk through the loader to the device, beside plain JPEG files."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import hydra
import streaming
import torch
from torch.utils.data import DataLoader

from foundation.data.dataset import Collate, PatientDataset
from foundation.data.loader import PatientLoader
from foundation.data.sampler import PatientSampler
from gpu_sections.device import device, synchronize
from gpu_sections.jobs import Row
from gpu_sections.settings import Plan
from pretrain.assemble import build_encoder, load_cohort


def streams(plan: Plan) -> list[Row]:
    """Tiles and patients a second, nothing computed with them."""
    files = jpeg(plan)
    size = 32 if plan.toy else 224
    (plan.folder / "tiles").mkdir()
    plain = _tiles(plan, streaming.plain(files, size))
    packed = _tiles(plan, streaming.ours(files, plan.folder / "tiles", size))
    return [
        {"name": "JPEG files, plain Dataset", "tiles_per_second": plain},
        {"name": "packed tiles", "tiles_per_second": packed},
        {"name": "packed patients", **_patients(plan)},
    ]


def jpeg(plan: Plan) -> list[Path]:
    """Tiles of 256 pixels as JPEG files, drawn once."""
    folder = plan.folder / "jpeg"
    if not folder.exists():
        return streaming.write_jpeg(folder, Path(), 16 if plan.toy else 1024)
    return sorted(folder.iterdir())


def loader(plan: Plan, dataset: Any, batch: int) -> Any:
    """PyTorch's own, as a GPU is best fed by it."""
    workers = 0 if plan.toy else plan.workers
    return DataLoader(
        dataset,
        batch,
        shuffle=True,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device().type == "cuda",
    )


def items_a_second(passes: int, one_pass: Callable[[], int]) -> float:
    """Of some passes, after one that starts the workers and fills the files' cache."""
    one_pass()
    synchronize()
    started = time.perf_counter()
    items = sum(one_pass() for _ in range(passes))
    synchronize()
    return items / (time.perf_counter() - started)


def _tiles(plan: Plan, dataset: Any) -> float:
    batches = loader(plan, dataset, 4 if plan.toy else 64)

    def one_pass() -> int:
        return sum(len(tiles.to(device(), non_blocking=True)) for tiles in batches)

    return items_a_second(1 if plan.toy else 3, one_pass)


def _patients(plan: Plan) -> Row:
    """Batches of the run's own loader, all modalities, augmented as in training, moved to the device."""
    size = plan.sizes[0]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", plan.overrides(size))
    cohort, parts = load_cohort(cfg)
    encoder = build_encoder(cfg, cohort.dictionary)
    dataset = PatientDataset(cohort, [*parts.train, *parts.validation], list(encoder.modalities))
    patients = plan.patients(size)
    batches = PatientLoader(
        dataset,
        PatientSampler(len(dataset), patients, drop_last=True),
        Collate(encoder, train=True, seed=0),
        num_workers=0 if plan.toy else plan.workers,
        pin_memory=device().type == "cuda",
    )
    images = 0

    def one_pass() -> int:
        nonlocal images
        seen = 0
        for batch in batches:
            images += sum(int(inputs["mask"].sum()) for inputs in batch.inputs.values() if "images" in inputs)
            seen += len(batch.to(torch.device(device())))
        return seen

    passes = 1 if plan.toy else 4
    rate = items_a_second(passes, one_pass)
    each = images / ((passes + 1) * (len(dataset) // patients) * patients)
    return {"size": size, "patients": patients, "patients_per_second": rate, "tiles_per_second": rate * each}
