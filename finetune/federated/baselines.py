"""What a model across hospitals must beat, fitted across the same hospitals by Newton's method on sums.

Each output of the task has a regression of its own: logistic of a label, of several classes each against the others;
least squares of a quantity, whose first step is the solution of the normal equations; Cox of a hazard. A step takes an
exchange, of Cox regression two (Lu et al. 2015, WebDISCO, with exact gradient and information). Age and sex are one
baseline; others read a block of plain features on the leading axes that the model's reliability brings, which are those
of all hospitals' patients, so that nothing more has to leave for them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.experts.responses import Hazard, Response
from finetune.federated.cox import newton_sums, risk_information, risk_moments, time_weights
from finetune.federated.steady import Steady
from foundation.errors import UserError
from foundation.federation.weights.types import Arrays, Weights
from foundation.statistics.grid import Grid
from foundation.statistics.newton import Newton, NewtonSums
from foundation.statistics.table import Floats

BASELINES = "baselines"
RIDGE = 1.0  # half of it times the squared coefficients is taken off the log-likelihood, the intercept's too
Fits = Mapping[str, tuple[Floats, Response]]  # by name, a design `[patients, width]`, NaN for who lacks it, and output
_SUMS = ("log_likelihood", "gradient", "information")


def fit_baselines(ask: Steady, question: Arrays, widths: Mapping[str, int], hazards: bool, times: Grid) -> Weights:
    """Coefficients by name of the fit, all fitted together.

    Args:
        ask: the sites, those that train.
        question: what goes to sites beside coefficients.
        widths: by fit, its columns.
        hazards: whether outputs are hazards, so that the regression is Cox's.
        times: grid of Cox regression.
    """
    newtons = {name: Newton(width, ridge=RIDGE) for name, width in widths.items()}
    while not all(newton.done for newton in newtons.values()):
        beta = {name: np.nan_to_num(newton.beta[0]) for name, newton in newtons.items()}
        sums = _cox(ask, question, beta, times) if hazards else _separable(ask, question, beta)
        for name, newton in newtons.items():
            if not newton.done:
                newton.update(sums[name])
    return {name: newton.beta[0] for name, newton in newtons.items()}


def _separable(ask: Steady, question: Arrays, beta: Weights) -> dict[str, NewtonSums]:
    shapes = {
        f"{name}.{key}": (1, *(len(value),) * order) for name, value in beta.items() for order, key in enumerate(_SUMS)
    }
    total = ask(BASELINES, {}, shapes, {**question, **_asked(beta)})
    return {name: NewtonSums(*(total[f"{name}.{key}"] for key in _SUMS)) for name in beta}


def _cox(ask: Steady, question: Arrays, beta: Weights, times: Grid) -> dict[str, NewtonSums]:
    cells = len(times)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in beta.items():
        pairs = (cells, 1 + len(value))
        of_one = {"events": (cells,), "covariates": (len(value),), "risk": pairs, "tied": pairs}
        shapes |= {f"{name}.{key}": shape for key, shape in of_one.items()}
    total = ask(BASELINES, {}, shapes, {**question, **_asked(beta)})
    first = {name: _of(total, name) for name in beta}
    more: Weights = {}
    for name, moments in first.items():
        weight, tied = time_weights(moments, "efron")
        more |= {f"weight.{name}": weight, f"tied.{name}": tied}
    squares = {f"{name}.information": (len(value),) * 2 for name, value in beta.items()}
    second = ask(BASELINES, {}, squares, {**question, **_asked(beta), **more})
    found = {name: np.asarray(second[f"{name}.information"], dtype=np.float64) for name in beta}
    return {name: newton_sums(first[name], found[name], beta[name].astype(np.float64), "efron") for name in beta}


def baseline_sums(fits: Fits, question: Mapping[str, NDArray[Any]], times: Grid) -> dict[str, NDArray[Any]]:
    """A hospital's part of a step.

    Args:
        fits: of its training patients.
        question: of the server.
        times: grid of Cox regression.

    Raises:
        UserError: if other coefficients were sent than there are columns.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, (design, response) in fits.items():
        beta = question.get(f"beta.{name}", np.zeros(0))
        if beta.shape != design.shape[1:] or not np.isfinite(beta).all():
            raise UserError(f"{BASELINES}: asked about other coefficients than '{name}' has; install one release")
        rows = np.flatnonzero(response.known & ~np.isnan(design).any(axis=1))
        known, target = design[rows], response.of(rows)
        part: dict[str, NDArray[Any]]
        if not isinstance(target, Hazard):
            sums = target.sums(known, beta)
            part = {key: np.asarray(getattr(sums, key))[None] for key in _SUMS}
        elif f"weight.{name}" in question:
            ahead = question[f"weight.{name}"], question[f"tied.{name}"]
            part = {"information": risk_information(target.event, target.time, known, times, beta, *ahead)}
        else:
            part = risk_moments(target.event, target.time, known, times, beta)
        arrays |= {f"{name}.{key}": value for key, value in part.items()}
    return arrays


def _asked(beta: Weights) -> Weights:
    return {f"beta.{name}": value for name, value in beta.items()}


def _of(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
