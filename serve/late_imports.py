"""Imports that a worker puts off, for it does not do the work that they are for.

A process that answers needs no compiler, no tensors spread over machines, no assignment solver and no Arrow; libraries
load them at their own start all the same, for a third of its time and a quarter of the memory that is the worker's own.
Whatever a library, or anybody after it, does use of them is imported then.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")  # of functions, for the compiler
_CALLED_LATER = {
    f"{_COMPILER}.utils": "is_compile_supported",  # by torchvision's operators of regions
    f"{_COMPILER}._trace_wrapped_higher_order_op": "TransformGetItemToIndex",  # by transformers' masks under vmap
    "scipy.optimize": "linear_sum_assignment",  # by transformers' losses of object detection
}


@contextmanager
def late_imports() -> Iterator[None]:
    """Has modules stand in for what is put off while a model is loaded; what is loaded already stays."""
    import torch.distributed

    _import_pandas()
    stand_ins: dict[str, ModuleType] = {_COMPILER: _StandIn(_COMPILER)}
    stand_ins[_COMPILER].__dict__.update({"__path__": []} | dict.fromkeys(_MARKS, _as_it_is))
    for name, function in _CALLED_LATER.items():
        stand_ins[name] = _StandIn(name)
        setattr(stand_ins[name], function, _later(name, function))
    if _COMPILER in sys.modules:
        stand_ins = {name: one for name, one in stand_ins.items() if not name.startswith(_COMPILER)}
    finder, distributed = _RealModules(), torch.distributed.is_available
    sys.modules.update({name: one for name, one in stand_ins.items() if name not in sys.modules})
    sys.meta_path.insert(0, finder)
    torch.distributed.is_available = lambda: False  # which libraries ask before they load what spreads tensors
    try:
        yield
    finally:
        torch.distributed.is_available = distributed
        sys.meta_path.remove(finder)
        _withdraw("")


def _import_pandas() -> None:
    """Without Arrow, as where that is not installed; others may import it afterwards."""
    if {"pandas", "pyarrow"} & sys.modules.keys():
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
    try:
        import_module("pandas")
    finally:
        del sys.modules["pyarrow"]


def _as_it_is(function: Callable[..., Any] | None = None, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """A mark, as a decorator with arguments or without."""
    return _as_it_is if function is None else function


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function, or a class, that is imported where it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(*arguments, **options)

    return call


def _withdraw(family: str) -> None:
    """From now on the modules themselves are imported: of a package, or all."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
        if name.startswith(family):
            del sys.modules[name]


class _StandIn(ModuleType):
    """A module of which little is used; whoever uses more gets it from the module itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _withdraw(_COMPILER if self.__name__.startswith(_COMPILER) else self.__name__)
        return getattr(import_module(self.__name__), name)


class _RealModules(MetaPathFinder):
    """Finds modules inside of one that another stands in for: they are imported, and it with them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = fullname.rpartition(".")[0]
        if not isinstance(sys.modules.get(parent), _StandIn):
            return None
        _withdraw(_COMPILER)
        return ModuleSpec(fullname, _Loaded(import_module(fullname)))


class _Loaded(Loader):
    """Hands over a module that was imported meanwhile, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec, self._loader = module, module.__spec__, module.__loader__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__ = self._spec, self._loader
