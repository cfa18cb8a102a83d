"""Lets `import torchvision` work on a CPU-only torch.

torchvision's wheel is built against CUDA; beside a CPU-only torch its compiled operators cannot load, and importing it
(timm and torchmetrics do) fails with "operator torchvision::nms does not exist". Declaring the two missing schemas
first is enough: Consilium calls neither operator. Imported by `foundation/__init__.py`, ahead of everything else.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _operators_load() -> bool:
    """Whether torchvision's compiled operators can be loaded into this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    libraries = sorted(Path(spec.origin).parent.glob("_C.*so")) + sorted(Path(spec.origin).parent.glob("_C.pyd"))
    if not libraries:
        return False
    try:
        torch.ops.load_library(str(libraries[0]))
    except OSError:
        return False
    return True


def _declare_schemas() -> "torch.library.Library":
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


# Kept alive for the life of the process: the schemas vanish with the library object.
_LIBRARY = None if _operators_load() else _declare_schemas()
