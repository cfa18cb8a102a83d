"""The modalities' packages, found by looking, so that no list of them needs a line when one is added."""

import pkgutil
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_MODALITIES = "foundation.modalities"


@cache
def modules(part: str) -> dict[str, ModuleType]:
    """One module of each modality that has it, by the modality's name.

    Args:
        part: name of the module in a modality's package.
    """
    return {name: import_module(path) for name, path in paths_of(part).items()}


@cache
def paths_of(part: str) -> dict[str, str]:
    """The same modules' names, none of them imported: some read files by packages that take megabytes."""
    packages = [entry.name for entry in pkgutil.iter_modules(import_module(_MODALITIES).__path__) if entry.ispkg]
    paths = {name: f"{_MODALITIES}.{name}.{part}" for name in packages}
    return {name: path for name, path in paths.items() if find_spec(path) is not None}
