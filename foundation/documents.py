"""Documents that are read against a contract: YAML that people wrote, and plain values as pydantic models."""

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
