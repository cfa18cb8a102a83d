"""Weighted means: FedAvg, FedProx, and one site after another."""

from collections.abc import Iterable

import numpy as np

from foundation.federation.strategies.base import Strategy


class FedAvg(Strategy):
    """Mean by group, weighted by samples (McMahan et al. 2017).

    With `local` parts it is FedBN (Li et al. 2021: normalisation stays at the site) or any personalised form of it.
    """


class FedProx(FedAvg):
    """FedAvg whose sites are held to the round's start by a proximal term (Li et al. 2020).

    Args:
        proximal: mu; each site's loss gains mu / 2 times the squared distance to the weights that it received.
        local: see `Strategy`.
    """

    def __init__(self, proximal: float = 0.01, local: Iterable[str] = ()) -> None:
        super().__init__(local)
        self.proximal = proximal

    def site_settings(self) -> dict[str, float | str]:
        return {"proximal": self.proximal}


class Cyclic(FedAvg):
    """Sites train one after another, each from the last one's weights (Chang et al. 2018).

    A site's parameters pass on as they are; a group that it did not train passes by.

    Args:
        shuffle: draw a new order each round; else the order of the sites.
        seed: of that order; a round's order depends on seed and round alone, so that a resumed run goes on alike.
        local: see `Strategy`.
    """

    def __init__(self, shuffle: bool = False, seed: int = 0, local: Iterable[str] = ()) -> None:
        super().__init__(local)
        self.shuffle = shuffle
        self.seed = seed

    def stages(self, number: int, sites: list[str]) -> list[list[str]]:
        if not self.shuffle:
            return [[site] for site in sites]
        order = np.random.default_rng([self.seed, number]).permutation(len(sites))
        return [[sites[place]] for place in order]
