"""A question of sums within an order, and the arrays that answer it: by place, so that no name of an array travels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.sums.contract import Numbers, Shapes
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.wire.messages import Order

_QUESTION = "sums."  # begins the names of arrays that belong to the question, not to the model
_ANSWER = "sums."


def with_question(order: Order, name: str, shapes: Shapes, question: Arrays) -> Order:
    """An order that asks for sums instead of what it asked for."""
    weights = {**order.weights, **{f"{_QUESTION}{key}": value for key, value in question.items()}}
    asked = tuple(tuple(shapes[key]) for key in sorted(shapes))
    return replace(order, sums=name, shapes=asked, weights=weights, control={})


def weights_of(order: Order) -> Weights:
    """The model that the question is about."""
    return {name: value for name, value in order.weights.items() if not name.startswith(_QUESTION)}


def question_of(order: Order) -> Weights:
    """The arrays that go with the question."""
    arrays = order.weights.items()
    return {name.removeprefix(_QUESTION): value for name, value in arrays if name.startswith(_QUESTION)}


def places(names: Mapping[str, Any]) -> dict[str, str]:
    """By name of an array that answers, the name that it travels by."""
    return {name: f"{_ANSWER}{place}" for place, name in enumerate(sorted(names))}


def to_answer(order: Order, arrays: Numbers) -> Weights:
    """Arrays as they travel.

    Raises:
        UserError: if they have other shapes than the order asks for.
    """
    if tuple(tuple(arrays[name].shape) for name in sorted(arrays)) != order.shapes:
        raise UserError(
            f"{order.sums}: the order asks for arrays of other shapes than this site's; install one release everywhere"
        )
    return {place: arrays[name] for name, place in places(arrays).items()}


def from_answer(arrays: Mapping[str, NDArray[Any]], shapes: Shapes) -> Numbers:
    """The way back, by the names of the question.

    Raises:
        KeyError: if one is missing.
    """
    return {name: arrays[place] for name, place in places(shapes).items()}
