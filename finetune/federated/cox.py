"""Cox regression and the exact gradient of the pooled Cox loss, by sums over hospitals; numpy alone, for a server.

A step of Newton's method takes two exchanges. First the sums over risk sets: `S0(t) = sum of exp(eta)` over those still
followed at t, and S1, the same times covariates. From the totals the server knows the weight of each time, with which
every hospital reduces its own S2 to one matrix: the second exchange. The gradient of a whole network takes two as well:
S0, then each hospital's own backward pass (`foundation.statistics.cox.RiskSums`), ties by Breslow.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.federated.steady import Steady
from foundation.errors import UserError
from foundation.federation.sums import SiteSums
from foundation.federation.weights.types import Arrays, Weights
from foundation.statistics.cox import RiskSums, Ties
from foundation.statistics.grid import Grid
from foundation.statistics.newton import Newton, NewtonSums
from foundation.statistics.survival import on_times
from foundation.statistics.table import Floats, ratio

RISK_MOMENTS, RISK_INFORMATION = "risk_moments", "risk_information"
RISK_SETS, RISK_GRADIENT = "risk_sets", "risk_gradient"
STRATUM = "stratum"


def risk_moments(event: Floats, time: Floats, x: Floats, times: Grid, beta: Floats) -> dict[str, NDArray[Any]]:
    """A hospital's sums over risk sets and over the events of each time, at one value of the coefficients.

    Returns:
        `events` `[times]`; `covariates`, their sum over events, `[width]`; `risk` and `tied`: sums of exp(eta) times 1
        and times each covariate, over those at risk and over events, `[times, 1 + width]`.
    """
    seen, at = on_times(event, time, times)
    cells = len(times)
    columns = np.exp(x @ beta)[:, None] * np.column_stack([np.ones(len(x)), x])
    by_time, tied = (
        np.stack([np.bincount(at, values, minlength=cells) for values in part.T], axis=1)
        for part in (columns, columns * seen[:, None])
    )
    events = np.bincount(at, seen, minlength=cells).astype(np.int64)
    return {"events": events, "covariates": x.T @ seen, "risk": np.cumsum(by_time[::-1], axis=0)[::-1], "tied": tied}


def risk_information(
    event: Floats, time: Floats, x: Floats, times: Grid, beta: Floats, weight: Floats, tied: Floats
) -> Floats:
    """A hospital's S2 as one matrix, summed over times by their weights, less that of the events: `[width, width]`.

    Args:
        event: `[patients]`, as `time`.
        time: of event or censoring.
        x: covariates `[patients, width]`.
        times: the grid.
        beta: `[width]`.
        weight: of each time's risk set, `[times]`; see `time_weights`.
        tied: of each time's events, `[times]`.
    """
    seen, at = on_times(event, time, times)
    share = np.exp(x @ beta) * (np.cumsum(weight)[at] - seen * tied[at])
    return np.asarray((x * share[:, None]).T @ x)


def stratum(event: Floats, time: Floats, x: Floats, times: Grid, beta: Floats, ties: Ties) -> dict[str, NDArray[Any]]:
    """What a hospital's patients say of coefficients by themselves: no risk set leaves."""
    totals = risk_moments(event, time, x, times, beta)
    information = risk_information(event, time, x, times, beta, *time_weights(totals, ties))
    sums = newton_sums(totals, information, beta, ties)
    return {name: getattr(sums, name)[0] for name in sums.summed}


def time_weights(totals: Mapping[str, NDArray[Any]], ties: Ties) -> tuple[Floats, Floats]:
    """What a time's risk set, and its events, weigh in the second derivatives: `[times]` each."""
    weight, tied = np.zeros(len(totals["events"])), np.zeros(len(totals["events"]))
    for used, share in _turns(totals["events"], ties):
        part = used * np.nan_to_num(ratio(1.0, totals["risk"][:, 0] - share * totals["tied"][:, 0]))
        weight, tied = weight + part, tied + share * part
    return weight, tied


def newton_sums(totals: Mapping[str, NDArray[Any]], information: Floats, beta: Floats, ties: Ties) -> NewtonSums:
    """Partial log-likelihood with gradient and information, from the totals of both exchanges (Efron 1977)."""
    likelihood, gradient, spread = beta @ totals["covariates"], totals["covariates"].copy(), information.copy()
    for used, share in _turns(totals["events"], ties):
        sums = totals["risk"] - share[:, None] * totals["tied"]
        mean = np.nan_to_num(ratio(sums[:, 1:], sums[:, :1])) * used[:, None]
        likelihood -= np.log(np.where(used, sums[:, 0], 1.0)).sum()
        gradient -= mean.sum(axis=0)
        spread -= mean.T @ mean
    return NewtonSums(np.array([likelihood]), gradient[None], spread[None])


def _turns(events: NDArray[Any], ties: Ties) -> Iterator[tuple[NDArray[np.bool_], Floats]]:
    """By turn, in which times another of several events is counted, and which share of them is no longer at risk."""
    for turn in range(int(events.max(initial=0))):
        used = turn < events
        yield used, np.where(used, turn / np.maximum(events, 1), 0.0) if ties == "efron" else np.zeros(len(events))


class PooledCox:
    """Steps of Cox regression across hospitals.

    Args:
        ask: the sites.
        weights: of the model, which sites need for their covariates.
        times: the grid.
        width: of covariates.
        ridge: see `CoxSettings`.
        stratified: hospitals are strata, so that one exchange of gradient and information is all.
        ties: of events at one time of the grid; sites follow their own setting where they are strata.
    """

    def __init__(
        self, ask: Steady, weights: Arrays, times: Grid, width: int, ridge: float, stratified: bool, ties: Ties
    ) -> None:
        self.ask = ask
        self.weights = weights
        self.times = times
        self.width = width
        self.ridge = ridge
        self.stratified = stratified
        self.ties: Ties = ties

    def fit(self, beta: Floats, most: int) -> Floats:
        """The coefficients after Newton steps from some, until they stand still or so many exchanges were made.

        Raises:
            UserError: if they have no finite optimum: nothing bounds them.
        """
        newton = Newton(self.width, ridge=self.ridge)
        newton.beta = beta[None].copy()
        while not newton.done and newton.rounds < most:
            newton.update(self.sums(newton.beta[0]))
        if not np.isfinite(newton.beta).all():
            raise UserError("cox.ridge: the hospitals' patients bound no coefficients; give a larger ridge, such as 10")
        return np.asarray(newton.beta[0], dtype=np.float64)

    def sums(self, beta: Floats) -> NewtonSums:
        """What all hospitals' patients say of coefficients."""
        question, cells, width = {"beta": beta}, len(self.times), self.width
        if self.stratified:
            shapes: dict[str, tuple[int, ...]] = {
                "log_likelihood": (),
                "gradient": (width,),
                "information": (width, width),
            }
            total = self.ask(STRATUM, self.weights, shapes, question)
            return NewtonSums(*(total[name][None] for name in shapes))
        pairs = (cells, 1 + width)
        shapes = {"events": (cells,), "covariates": (width,), "risk": pairs, "tied": pairs}
        moments = self.ask(RISK_MOMENTS, self.weights, shapes, question)
        weight, tied = time_weights(moments, self.ties)
        more = {"beta": beta, "weight": weight, "tied": tied}
        information = self.ask(RISK_INFORMATION, self.weights, {"information": (width, width)}, more)["information"]
        return newton_sums(moments, information, beta, self.ties)


def pooled_gradient(
    ask: Steady, weights: Arrays, times: Grid, learning: Collection[str]
) -> tuple[float, dict[str, Floats]]:
    """Loss and exact gradient of the pooled Cox loss by parameter, in two exchanges."""
    cells = len(times)
    risk = ask(RISK_SETS, weights, {"events": (1, cells), "risk": (1, cells), "eta": (1, 1)})
    gradient = ask(RISK_GRADIENT, weights, {name: np.shape(weights[name]) for name in learning}, risk)
    return RiskSums.empty(times).filled(risk).loss(), gradient


class AdamW:
    """AdamW in numpy (Loshchilov & Hutter 2019), fresh at the beginning of a round, as sites' optimisers are.

    Args:
        weight_decay: of every parameter.
    """

    def __init__(self, weight_decay: float) -> None:
        self.weight_decay = weight_decay
        self.steps = 0
        self._first: dict[str, Floats] = {}
        self._second: dict[str, Floats] = {}

    def step(self, weights: Weights, gradient: Mapping[str, Floats], rate: Callable[[str], float]) -> None:
        """Moves weights in place.

        Args:
            weights: by parameter.
            gradient: likewise; parameters that it does not name stay.
            rate: learning rate of a parameter.
        """
        self.steps += 1
        for name, slope in gradient.items():
            value = weights[name].astype(np.float64)
            self._first[name] = 0.9 * self._first.get(name, 0.0) + 0.1 * slope
            self._second[name] = 0.999 * self._second.get(name, 0.0) + 0.001 * slope**2
            mean = self._first[name] / (1 - 0.9**self.steps)
            spread = np.sqrt(self._second[name] / (1 - 0.999**self.steps)) + 1e-8
            moved = value * (1 - rate(name) * self.weight_decay) - rate(name) * mean / spread
            weights[name] = moved.astype(weights[name].dtype)


def site_sums(arrays: Mapping[str, NDArray[Any]], patients: int) -> SiteSums:
    """An answer whose events are counts of patients."""
    return SiteSums(dict(arrays), patients, tuple(name for name in arrays if name == "events"))
