"""Cox regression from risk-set sums, pooled or stratified by hospital, and the gradient of a deep Cox loss."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.newton import NewtonSums
from foundation.statistics.survival import on_times
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio, summed

Ties = Literal["efron", "breslow"]


@dataclass(frozen=True, eq=False)
class CoxSums(Table):
    """Sums over risk sets at one value of the coefficients, by time cell.

    Attributes:
        times: the grid.
        beta: the coefficients, `[replicates, width]`, in bytes: sums at others do not add up.
        events: `[replicates, times]`.
        covariates: sum of covariates of events, `[replicates, width]`.
        risk0: sum of exp(eta) over those at risk, `[replicates, times]`.
        risk1: the same times covariates, `[replicates, times, width]`.
        risk2: the same times their outer products, `[replicates, times, width, width]`.
        tied0, tied1, tied2: the same over the events of each time, for Efron's ties.
    """

    summed: ClassVar[tuple[str, ...]] = (
        "events", "covariates", "risk0", "risk1", "risk2", "tied0", "tied1", "tied2",
    )  # fmt: skip
    times: Grid
    beta: bytes
    events: Integers
    covariates: Floats
    risk0: Floats
    risk1: Floats
    risk2: Floats
    tied0: Floats
    tied1: Floats
    tied2: Floats

    @classmethod
    def empty(cls, times: Grid, beta: Floats) -> "CoxSums":
        rows, width = beta.shape
        flat, cells = (rows, len(times)), len(times)
        shapes = [flat, (rows, cells, width), (rows, cells, width, width)]
        sums = [np.zeros(shape) for shape in shapes * 2]
        return cls(times, beta.tobytes(), np.zeros(flat, dtype=np.int64), np.zeros((rows, width)), *sums)

    @classmethod
    def from_patients(
        cls,
        event: ArrayLike,
        time: ArrayLike,
        covariates: ArrayLike,
        times: Grid,
        beta: Floats,
        weights: ArrayLike | None = None,
    ) -> "CoxSums":
        """Of events (1 seen, 0 censored), times, and covariates `[patients, width]`, near zero mean for exp's sake."""
        x = np.asarray(covariates, dtype=np.float64)
        event, time, x = columns(len(x), event=event, time=time, covariates=x)
        if x.ndim != 2 or x.shape[1] != beta.shape[1]:
            raise UserError(f"cox: covariates have shape {x.shape}, expected [patients, {beta.shape[1]}]")
        rows = once(weights, len(x))
        seen, at = on_times(event, time, times)
        risk = rows * np.exp(beta @ x.T)
        moments = [risk, risk[:, None] * x.T, risk[:, None, None] * np.einsum("ni,nj->ijn", x, x)]
        at_risk = [_ahead(summed(at, len(times), values)) for values in moments]
        tied = [summed(at, len(times), values * seen) for values in moments]
        order = [np.ascontiguousarray(np.moveaxis(values, -1, 1)) for values in (*at_risk, *tied)]
        events = counted(at, len(times), rows * seen)
        return cls(times, beta.tobytes(), events, (rows * seen) @ x, *order)

    def newton(self, ties: Ties = "efron") -> NewtonSums:
        """Partial log-likelihood with gradient and information (Cox 1972; ties: Efron 1977, Breslow 1974).

        Those of several hospitals' pooled sums are pooled Cox regression; adding up what each has by itself is Cox
        regression stratified by hospital, for which risk sets never leave.
        """
        beta = np.frombuffer(self.beta).reshape(self.covariates.shape)
        likelihood = (beta * self.covariates).sum(axis=1)
        gradient, width = self.covariates.copy(), self.covariates.shape[1]
        information = np.zeros((len(beta), width, width))
        for step in range(int(self.events.max(initial=0))):
            used = step < self.events
            share = np.where(used, step / np.maximum(self.events, 1), 0.0) if ties == "efron" else np.zeros(used.shape)
            s0 = self.risk0 - share * self.tied0
            mean = np.nan_to_num(ratio(self.risk1 - share[..., None] * self.tied1, s0[..., None]))
            square = self.risk2 - share[..., None, None] * self.tied2
            spread = np.nan_to_num(ratio(square, s0[..., None, None])) - mean[..., :, None] * mean[..., None, :]
            likelihood -= np.where(used, np.log(np.where(used, s0, 1.0)), 0.0).sum(axis=1)
            gradient -= (used[..., None] * mean).sum(axis=1)
            information += (used[..., None, None] * spread).sum(axis=1)
        return NewtonSums(likelihood, gradient, information)

    def baseline_hazard(self) -> Floats:
        """Cumulative, where all covariates are zero, at each grid time (Breslow 1974): `[replicates, times]`."""
        return np.cumsum(np.nan_to_num(ratio(self.events, self.risk0)), axis=1)


@dataclass(frozen=True, eq=False)
class RiskSums(Table):
    """The first of two exchanges for the exact gradient of the pooled Cox loss of a network.

    Attributes:
        times: the grid.
        events: `[1, times]`.
        risk: sum of exp(eta) over those at risk, `[1, times]`.
        eta: sum over events, `[1, 1]`; the loss needs it, the gradient does not.
    """

    summed: ClassVar[tuple[str, ...]] = ("events", "risk", "eta")
    times: Grid
    events: Integers
    risk: Floats
    eta: Floats

    @classmethod
    def empty(cls, times: Grid) -> "RiskSums":
        return cls(times, np.zeros((1, len(times)), dtype=np.int64), np.zeros((1, len(times))), np.zeros((1, 1)))

    @classmethod
    def from_patients(cls, event: ArrayLike, time: ArrayLike, eta: ArrayLike, times: Grid) -> "RiskSums":
        """Of events (1 seen, 0 censored), times and the network's log hazards, `[patients]` each."""
        event, time, eta = columns(len(np.asarray(event)), event=event, time=time, eta=eta)
        seen, at = on_times(event, time, times)
        risk = _ahead(summed(at, len(times), np.exp(eta)[None]))
        return cls(times, counted(at, len(times), seen[None]), risk, np.array([[eta @ seen]]))

    def loss(self) -> float:
        """Negative partial log-likelihood an event, ties by Breslow; NaN without events."""
        seen = self.events > 0
        terms = self.events[seen] * np.log(self.risk[seen])
        return float(ratio(terms.sum() - self.eta.sum(), self.events.sum()))

    def gradient(self, event: ArrayLike, time: ArrayLike, eta: ArrayLike) -> Floats:
        """Of the pooled loss by a hospital's own log hazards, `[patients]`: what its backward pass starts from.

        d loss / d eta_i = (exp(eta_i) * sum over u <= t_i of d(u) / S0(u) - event_i) / events, on the pooled sums.
        """
        event, time, eta = columns(len(np.asarray(event)), event=event, time=time, eta=eta)
        seen, at = on_times(event, time, self.times)
        hazard = np.cumsum(np.nan_to_num(ratio(self.events[0], self.risk[0])))
        return ratio(np.exp(eta) * hazard[at] - seen, self.events.sum())


def _ahead(by_time: Floats) -> Floats:
    """Sums over each time and all later ones, along the last axis."""
    return np.ascontiguousarray(np.cumsum(by_time[..., ::-1], axis=-1)[..., ::-1])
