"""A stand-in that lets `import torchvision` work on a CPU-only torch.

torchvision's wheel is built against CUDA; beside a CPU-only torch its compiled operators cannot load, and importing it
(timm and torchmetrics do) fails with "operator torchvision::nms does not exist". Declaring the two missing schemas
first is enough: Consilium calls neither operator. `foundation/__init__.py` sees to it, ahead of everything else, and
nothing is done, nor torch imported, before torchvision is.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_KEPT: list[Any] = []  # for the life of the process: the schemas vanish with the library object


def mend_on_import() -> None:
    """Declares the schemas as soon as somebody looks for torchvision."""
    sys.meta_path.insert(0, _Mend())


class _Mend(MetaPathFinder):
    """Finds nothing, but is asked first."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            if not _operators_load():
                _declare_schemas()


def _operators_load() -> bool:
    """Whether torchvision's compiled operators can be loaded into this torch."""
    import torch

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


def _declare_schemas() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _KEPT.append(library)
