"""Several exchanges over the same sites: a fit that goes on after one left would mix two sets of patients."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.sums import Ask, Sums
from foundation.federation.weights.types import Arrays

_TRIES = 3

T = TypeVar("T")


class _LeftError(Exception):
    """Another set of sites answered than before; `sites` did."""

    def __init__(self, sites: Collection[str]) -> None:
        super().__init__()
        self.sites = sites


class Steady:
    """Asks the same sites throughout: counts of one set of patients and of another make no order statistic.

    Args:
        ask: the sites.
        sites: to ask; those that answer first if None.
    """

    def __init__(self, ask: Ask, sites: Collection[str] | None = None) -> None:
        self.ask = ask
        self.sites = sites

    def __call__(
        self, name: str, weights: Arrays, shapes: Mapping[str, tuple[int, ...]], question: Arrays | None = None
    ) -> dict[str, NDArray[Any]]:
        sums: Sums = self.ask(name, weights, shapes, question, self.sites)
        if self.sites is not None and set(sums.sites) != set(self.sites):
            raise _LeftError(sums.sites)
        self.sites = sums.sites
        return sums.arrays


def of_steady_sites(ask: Ask, fit: Callable[[Steady], T]) -> T:
    """What a fit over several exchanges gives, begun again of those who stay where a site leaves in between.

    Raises:
        UserError: if sites go on leaving.
    """
    sites: Collection[str] | None = None
    for _ in range(_TRIES):
        try:
            return fit(Steady(ask, sites))
        except _LeftError as error:
            sites = error.sites
    raise UserError("sums: sites left between two exchanges again and again; go on with resume=true when they stay")
