"""Hospitals that answer in this process, without messages: what a server part asks, each says to, and it is added."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.federation.sums import Sums

Answer = Callable[[str, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


class Hospitals:
    """A way to ask: see `foundation.federation.sums.Ask`.

    Args:
        answers: by site, from name and question to arrays.
        leaving: by number of the exchange, from 0, a site that is gone from then on.

    Attributes:
        asked: names of the sums, in order.
    """

    refuses = False
    connected = ()

    def __init__(self, answers: Mapping[str, Answer], leaving: Mapping[int, str] | None = None) -> None:
        self.answers = dict(answers)
        self.leaving = leaving or {}
        self.asked: list[str] = []

    def __call__(
        self,
        name: str,
        weights: Mapping[str, NDArray[Any]],
        shapes: Mapping[str, tuple[int, ...]],
        question: Mapping[str, NDArray[Any]] | None = None,
        sites: Collection[str] | None = None,
    ) -> Sums:
        self.answers.pop(self.leaving.get(len(self.asked), ""), None)
        self.asked.append(name)
        here = [site for site in self.answers if sites is None or site in sites]
        by_site = {site: dict(self.answers[site](name, question or {})) for site in here}
        for arrays in by_site.values():
            assert {key: value.shape for key, value in arrays.items()} == dict(shapes)
        total = {key: sum((by_site[site][key] for site in here), np.zeros(shape)) for key, shape in shapes.items()}
        return Sums(total, here, by_site)
