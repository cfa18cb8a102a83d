"""Feature extraction: the encoder's image tower over tiles, beside the loop that one writes around timm's model."""

from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from foundation.data.store import ImageStore, ImageWriter
from foundation.modalities.base import Inputs
from foundation.modalities.pathology.encoder import Pathology
from gpu_sections.data import items_a_second, jpeg, loader
from gpu_sections.device import device, seconds_of
from gpu_sections.jobs import Row
from gpu_sections.settings import Plan

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Packed(Dataset[Inputs]):
    """Tiles of a store, a set of one each, through the modality's own transform."""

    def __init__(self, store: ImageStore, module: Pathology) -> None:
        self.store, self.module = store, module

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Inputs:
        return self.module.transform(self.store.read([index]), None)


class Plain(Dataset[Tensor]):
    """JPEG files as timm's models take them."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as image:
            pixels: NDArray[np.float32] = np.asarray(image.convert("RGB").resize((self.size, self.size)), np.float32)
        scaled = (torch.from_numpy(pixels) / 255 - torch.tensor(_MEAN)) / torch.tensor(_SPREAD)
        return scaled.permute(2, 0, 1)


def extraction(plan: Plan) -> list[Row]:
    """Tiles a second of both, from disk and of the tower alone."""
    name, size, batch = ("test_vit", 32, 4) if plan.toy else ("vit_base_patch16_224", 224, 256)
    files, folder = jpeg(plan), plan.folder / "features"
    folder.mkdir()
    with ImageWriter(folder, "tiles") as writer:
        for file in files:
            with Image.open(file) as image:
                writer.add(np.asarray(image.convert("RGB"))[None])
    module = Pathology(32 if plan.toy else 768, backbone=name, size=size, max_images=1)
    module.to(device()).eval()
    settings: dict[str, Any] = {"img_size": size} if timm.is_model(name) else {}
    plain = timm.create_model(name, num_classes=0, **settings).to(device()).eval()
    rows = [_row("timm's model over JPEG files", plan, Plain(files, size), plain, batch)]
    module.backbone.compile(**({"backend": "eager"} if plan.toy else {}))
    rows.append(
        _row(
            "image tower over packed tiles, compiled", plan, Packed(ImageStore(folder, "tiles"), module), module, batch
        )
    )
    return [{**row, "backbone": name, "batch": batch} for row in rows]


def _row(name: str, plan: Plan, dataset: Any, model: Any, batch: int) -> Row:
    batches = loader(plan, dataset, batch)

    @torch.inference_mode()
    def encode(inputs: Any) -> int:
        with torch.autocast(device().type, dtype=torch.bfloat16):
            features = model(inputs)
        return len(features if isinstance(features, Tensor) else features.values)

    moved = next(_moved(inputs) for inputs in batches)
    alone = seconds_of(lambda: encode(moved), 2 if plan.toy else 12)
    rate = items_a_second(1 if plan.toy else 2, lambda: sum(encode(_moved(inputs)) for inputs in batches))
    return {"name": name, "tiles_per_second": rate, "tiles_per_second_alone": encode(moved) / alone}


def _moved(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device(), non_blocking=True)
    return {name: value.to(device(), non_blocking=True) for name, value in inputs.items()}
