"""Rules that some hostile or broken sites cannot move beyond the range of the others.

Sites count alike, whatever number of samples they claim: a claim is as easy to forge as an update. A group that fewer
sites trained than the rule needs keeps its value, and its coverage names those sites with a share of 0. Running
statistics follow the rule too: a plain mean of them would be the open door. NaN counts as larger than any number.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np

from foundation.federation.strategies.base import Array, Coverage, Strategy, Updates
from foundation.federation.weights.aggregation import Floats
from foundation.federation.weights.types import Arrays

_SLICE = 1 << 18  # elements of every site that are held in double precision at a time


class Robust(Strategy):
    """Rules that are safe against a given number of sites.

    Args:
        hostile: f, as many sites may send anything.
        local: see `Strategy`.
    """

    def __init__(self, hostile: int = 1, local: Iterable[str] = ()) -> None:
        super().__init__(local)
        self.hostile = hostile

    @property
    def needed(self) -> int:
        """Sites that must have trained a group."""
        return 2 * self.hostile + 1

    def select(self, group: str, names: list[str], previous: Arrays, trained: Updates) -> Coverage:
        if len(trained) < self.needed:
            return dict.fromkeys(trained, 0.0)
        return dict.fromkeys(trained, 1 / len(trained))


class Ordered(Robust):
    """Rules that sort the sites' differences of each coordinate."""

    def change(self, name: str, previous: Array, updates: Updates, taking: Coverage) -> Floats:
        parts = [updates[site].flat(name, previous) for site in taking]
        change = np.empty(previous.size)
        for place in _slices(previous.size):
            change[place] = self.middle(np.sort(_stack(parts, place), axis=0))
        return change.reshape(previous.shape)

    @abstractmethod
    def middle(self, ordered: Floats) -> Floats:
        """One value a coordinate from the sites' sorted values, shape (sites, coordinates)."""


class TrimmedMean(Ordered):
    """Mean by coordinate without the f smallest and the f largest values (Yin et al. 2018); needs 2 f + 1 sites."""

    def middle(self, ordered: Floats) -> Floats:
        return np.asarray(ordered[self.hostile : len(ordered) - self.hostile].mean(axis=0))


class Median(Ordered):
    """Median by coordinate (Yin et al. 2018); needs 2 f + 1 sites."""

    def middle(self, ordered: Floats) -> Floats:
        half = len(ordered) // 2
        return np.asarray(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


class Krum(Robust):
    """The update nearest to its neighbours, by parameter group (Blanchard et al. 2017); needs 2 f + 3 sites.

    A site's score is the sum of squared distances to its n - f - 2 nearest; those with the lowest are averaged. All
    floating-point arrays of the group count in a distance, running statistics too.

    Args:
        hostile: f, as many sites may send anything.
        selected: how many updates are averaged: 1 is Krum, more is multi-Krum, at most n - f - 2 of them.
        local: see `Strategy`.
    """

    def __init__(self, hostile: int = 1, selected: int = 1, local: Iterable[str] = ()) -> None:
        super().__init__(hostile, local)
        self.selected = selected

    @property
    def needed(self) -> int:
        return max(2 * self.hostile + 3, self.selected + self.hostile + 2)

    def select(self, group: str, names: list[str], previous: Arrays, trained: Updates) -> Coverage:
        coverage = dict.fromkeys(trained, 0.0)
        if len(trained) < self.needed:
            return coverage
        sites = list(trained)
        squares = np.zeros((len(sites), len(sites)))
        for name in (name for name in names if previous[name].dtype.kind == "f"):
            squares += _squares([trained[site].flat(name, previous[name]) for site in sites])
        squares = np.where(np.isfinite(squares), squares, np.inf)
        np.fill_diagonal(squares, np.inf)  # nobody is its own neighbour
        scores = np.sort(squares, axis=1)[:, : len(sites) - self.hostile - 2].sum(axis=1)
        for place in np.argsort(scores, kind="stable")[: self.selected]:
            coverage[sites[place]] = 1 / self.selected
        return coverage


def _squares(parts: list[Array]) -> Floats:
    """Squared distances between arrays, shape (sites, sites)."""
    squares = np.zeros((len(parts), len(parts)))
    with np.errstate(over="ignore", invalid="ignore"):  # of hostile values, which the caller takes as far away
        for place in _slices(parts[0].size):
            stacked = _stack(parts, place)
            for one, other in combinations(range(len(parts)), 2):
                squares[one, other] += float(np.square(stacked[one] - stacked[other]).sum())
    return squares + squares.T


def _slices(size: int) -> Iterator[slice]:
    return (slice(start, start + _SLICE) for start in range(0, size, _SLICE))


def _stack(parts: list[Array], place: slice) -> Floats:
    return np.stack([part[place] for part in parts]).astype(np.float64)
