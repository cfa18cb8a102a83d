"""timm without Weights & Biases, which it imports for a training log of its own.

That import takes 3 of the 11 seconds of CPU in which a training process starts, whatever logger the run has; nobody
here calls the functions that it is for. The logger of a run that asks for it imports it as ever.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

_IMPORTER, _SPARED = "timm.utils.summary", "wandb"


def spare_on_import() -> None:
    """Lets the one module of timm that imports it look in vain."""
    sys.meta_path.insert(0, _Spare())


class _Spare(MetaPathFinder):
    """Finds the importer as Python does, with a loader around its own."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != _IMPORTER or _SPARED in sys.modules:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Executes the importer as if what is spared were not installed."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        sys.modules[_SPARED] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
        try:
            self.loader.exec_module(module)
        finally:
            del sys.modules[_SPARED]
