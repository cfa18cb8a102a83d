"""The mean of the sites' changes as a gradient for an optimiser at the server."""

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np

from foundation.federation.strategies.base import Strategy
from foundation.federation.weights.aggregation import Floats
from foundation.federation.weights.types import Weights


class ServerOptimiser(Strategy):
    """An optimiser step by parameter. Moments exist, and advance, only for groups that somebody trained.

    Args:
        learning_rate: the server's.
        local: see `Strategy`.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, local: Iterable[str] = ()) -> None:
        super().__init__(local)
        self.learning_rate = learning_rate
        self.kept: dict[str, Weights] = {moment: {} for moment in self.moments}

    @abstractmethod
    def step(self, name: str, change: Floats) -> Floats:
        """The server's step from the sites' mean change, both in double precision; advances the moments."""

    def keep(self, moment: str, name: str, value: Floats) -> Floats:
        """Stores a moment in single precision and gives it back as stored, so that a resumed run steps alike."""
        self.kept[moment][name] = np.asarray(value, dtype=np.float32)
        return np.asarray(self.kept[moment][name], dtype=np.float64)

    def state(self) -> Weights:
        return {f"{moment}/{name}": value for moment, kept in self.kept.items() for name, value in kept.items()}

    def load_state(self, state: Weights) -> None:
        self.kept = {moment: {} for moment in self.moments}
        for key, value in state.items():
            moment, _, name = key.partition("/")
            if moment not in self.kept:
                raise ValueError(f"state: {key} belongs to another strategy than {type(self).__name__}")
            self.kept[moment][name] = np.asarray(value, dtype=np.float32)


class FedAvgM(ServerOptimiser):
    """Heavy-ball momentum at the server (Hsu et al. 2019).

    Args:
        learning_rate: the server's.
        momentum: what stays of the last step.
        local: see `Strategy`.
    """

    moments = ("momentum",)

    def __init__(self, learning_rate: float = 1.0, momentum: float = 0.9, local: Iterable[str] = ()) -> None:
        super().__init__(learning_rate, local)
        self.momentum = momentum

    def step(self, name: str, change: Floats) -> Floats:
        last = self.kept["momentum"].get(name)
        moved = change if last is None else self.momentum * last.astype(np.float64) + change
        return self.learning_rate * self.keep("momentum", name, moved)


class Adaptive(ServerOptimiser):
    """Reddi et al. 2021, algorithm 2: one first moment, and a rule for the second; no bias correction, as there.

    Args:
        learning_rate: the server's.
        beta1: decay of the first moment.
        beta2: decay of the second.
        tau: smallest scale of a step; the second moment starts from its square.
        local: see `Strategy`.
    """

    moments = ("first", "second")

    def __init__(
        self,
        learning_rate: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.99,
        tau: float = 1e-3,
        local: Iterable[str] = (),
    ) -> None:
        super().__init__(learning_rate, local)
        self.beta1 = beta1
        self.beta2 = beta2
        self.tau = tau

    def step(self, name: str, change: Floats) -> Floats:
        first = self.kept["first"].get(name, np.zeros(1)).astype(np.float64)
        second = self.kept["second"].get(name, np.full(1, self.tau**2)).astype(np.float64)
        moved = self.keep("first", name, self.beta1 * first + (1 - self.beta1) * change)
        scale = self.keep("second", name, self.second(second, change**2))
        return self.learning_rate * moved / (np.sqrt(scale) + self.tau)

    @abstractmethod
    def second(self, last: Floats, square: Floats) -> Floats:
        """The second moment after a change of this square."""


class FedAdam(Adaptive):
    """Adam at the server."""

    def second(self, last: Floats, square: Floats) -> Floats:
        return self.beta2 * last + (1 - self.beta2) * square


class FedYogi(Adaptive):
    """Yogi at the server: the second moment falls no faster than it may rise."""

    def second(self, last: Floats, square: Floats) -> Floats:
        return last - (1 - self.beta2) * square * np.sign(last - square)


class FedAdagrad(Adaptive):
    """Adagrad at the server: the second moment only grows; `beta2` is not used."""

    def second(self, last: Floats, square: Floats) -> Floats:
        return last + square
