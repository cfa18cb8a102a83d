"""Documents that are read against a contract: YAML that people wrote, and plain values as pydantic models."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from foundation.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, advice: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """What a YAML file holds.

    Args:
        path: of the file.
        advice: what to do where it cannot be read, for the error.
        loader: of the file; one that is as safe.

    Raises:
        UserError: if it is missing or no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}); {advice}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({error}); mend it") from error


@contextmanager
def built_from(path: Path, field: str, advice: str) -> Iterator[None]:
    """Where an object is made of what a file says, whatever its constructor makes of a value that does not fit.

    Args:
        path: of the file.
        field: that holds the constructor's arguments.
        advice: what to do, for the error.

    Raises:
        UserError: naming both.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {field}: do not fit ({error}); {advice}") from error


def class_named(path: str, package: str) -> object:
    """What a file from outside names as a class, where it lies in one of our own packages; else None.

    Args:
        path: dotted.
        package: with the dot at its end.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None) if path.startswith(package) else None
    except (ModuleNotFoundError, ValueError):  # no such module, or no module's name
        return None


def validated(model: type[Model], content: Any, path: Path, advice: str) -> Model:
    """A file's content as a pydantic model.

    Args:
        model: of it.
        content: plain values.
        path: of the file.
        advice: what to do where it does not fit, for the error.

    Raises:
        UserError: naming the first field that is wrong, and what stands there.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {field}: {first['msg']}, found {first['input']!r}; {advice}") from error
