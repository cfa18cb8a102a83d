"""Statistics as they travel: arrays, and JSON for the rest, each named after the statistic that it belongs to."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from foundation.errors import UserError
from foundation.federation.statistics.contract import NAMES, SiteStatistics, section_of
from foundation.federation.weights.types import Arrays, Weights

_ARRAYS = ("count", "mean", "m2")  # of expression: too many numbers for text
_LARGEST = 1e60
_ABOUT = "about"  # sites, and what they withheld: of no statistic by itself


def to_arrays(statistics: SiteStatistics) -> tuple[Weights, dict[str, str]]:
    """As arrays and JSON texts.

    Returns:
        Arrays `expression.count`, `.mean` and `.m2`, float64 `[genes]`, NaN where withheld; JSON texts by statistic,
        and `about`. A policy may drop any statistic by its name and leave the others.
    """
    content = statistics.model_dump(mode="json")
    arrays: Weights = {}
    if expression := content["expression"]:
        for name in _ARRAYS:
            values = [np.nan if value is None else value for value in expression.pop(name)]
            arrays[f"expression.{name}"] = np.array(values, dtype=np.float64)
    texts = {str(name): json.dumps(content[name], allow_nan=False) for name in statistics.names}
    texts[_ABOUT] = json.dumps({"sites": content["sites"], "withheld": content["withheld"]})
    return arrays, texts


def from_arrays(arrays: Arrays, texts: Mapping[str, str]) -> SiteStatistics:
    """The way back; a statistic that was dropped on the way is None.

    Raises:
        UserError: naming the sender and the field that is wrong.
    """
    try:
        content: dict[str, Any] = json.loads(texts[_ABOUT])
        sender = ", ".join(content["sites"])
        content |= {name: json.loads(texts[name]) for name in NAMES if name in texts}
        if "expression" in texts:
            for name in _ARRAYS:
                content["expression"][name] = _list(arrays[f"expression.{name}"])
        content["withheld"] = [cell for cell in content["withheld"] if section_of(cell) in texts]
        _check_size(content)
    except KeyError as error:
        raise UserError(f"statistics: {error} is missing in what a site sent; is its release another one?") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        kind = type(error).__name__
        raise UserError(f"statistics: unreadable in what a site sent ({kind}); ask it again") from error
    try:
        return SiteStatistics.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"statistics of {sender}: {field}: {first['msg']}; is its release another one?") from error


def _check_size(node: Any) -> None:
    """Holds numbers to such as can be squared and summed, and words to such as can be written down.

    Raises:
        ValueError: at the first that cannot.
    """
    if isinstance(node, str):
        node.encode()
    children = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _check_size(child)
    if isinstance(node, int | float) and abs(node) > _LARGEST and abs(node) != float("inf"):
        raise ValueError("a number beyond any")


def _list(values: NDArray[np.generic]) -> list[float | None]:
    return [None if value != value else value for value in np.asarray(values).tolist()]
