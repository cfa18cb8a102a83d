"""Calibration across hospitals: temperature and shift by summed gradients and curvature, survival by risk sums.

What comes out is what a head's own `calibrate` fits on everybody's patients at one place, on the declared grids.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.federated.steady import Steady
from foundation.errors import UserError
from foundation.federation.weights.types import Arrays, Weights
from foundation.statistics.cox import RiskSums
from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats

TEMPERATURE, LINE, BASELINE, RISKS = "temperature", "line", "baseline", "risks"
LINES = ("products", "rest")  # of a line: see `finetune.heads.regression`
SumsAt = Callable[[Floats, dict[str, tuple[int, ...]]], Mapping[str, NDArray[Any]]]
_SHRINK = 1e-2  # as `finetune.calibration` draws them towards none
_STEPS = 30
_STILL = 1e-14
_EDGES, _HALVINGS = 2048, 3  # values that are counted below at a time, and how often: within 1e-6 of the risk
_FARTHEST = 1e3  # of a log hazard


def fit_temperature(ask: Steady, weights: Arrays, outputs: int, several: bool) -> Weights:
    """Scale and shift of logits, by Newton's method on sums over hospitals' validation patients.

    Args:
        ask: the sites.
        weights: of the model.
        outputs: logits a patient.
        several: whether each logit is a label of its own, with a scale and a shift of its own.

    Returns:
        The head's buffers `log_scale` and `shift`.
    """
    rows, width = (outputs, 2) if several else (1, 1 + outputs)
    theta = theta_by_sums(lambda some, shapes: ask(TEMPERATURE, weights, shapes, {"theta": some}), rows, width)
    scale, shift = (theta[:, 0], theta[:, 1]) if several else (theta[0, :1], theta[0, 1:])
    return {"head.log_scale": scale.astype(np.float32), "head.shift": shift.astype(np.float32)}


def theta_by_sums(sums_at: SumsAt, rows: int, width: int) -> Floats:
    """Logarithms of scales and shifts, `[rows, width]`, each row fitted by itself.

    Args:
        sums_at: the total over hospitals of `temperature_sums` at some values, given these and the arrays' shapes.
        rows: to fit.
        width: scale and shifts of each.
    """
    shapes = {"patients": (rows,), "loss": (rows,), "gradient": (rows, width), "curvature": (rows, width, width)}
    shapes |= {"bend": (rows,)}
    theta = np.zeros((rows, width))
    for _ in range(_STEPS):
        sums = sums_at(theta, shapes)
        step = np.stack([_step(theta[row], {name: value[row] for name, value in sums.items()}) for row in range(rows)])
        theta = theta + step
        if float((step**2).max()) < _STILL:
            break
    return theta


def _step(theta: Floats, sums: Mapping[str, NDArray[Any]]) -> Floats:
    """Newton's step of one row on the mean loss and the penalty; none where nobody is known."""
    count = float(sums["patients"])
    if not count:
        return np.zeros_like(theta)
    gradient = sums["gradient"] / count + 2 * _SHRINK * theta
    curvature = sums["curvature"] / count + 2 * _SHRINK * np.eye(len(theta))
    whole = curvature.copy()
    whole[0, 0] += sums["bend"] / count
    # Away from the optimum the scale's own bend may turn the curvature over; without it, it never does.
    used = whole if np.linalg.eigvalsh(whole)[0] > 0 else curvature
    step = -np.linalg.solve(used, gradient)
    return np.asarray(step * min(1.0, 1.0 / max(np.abs(step).max(), 1e-300)))


def temperature_sums(scores: Floats, labels: Floats, theta: Floats, several: bool) -> dict[str, NDArray[Any]]:
    """A hospital's part: loss of scaled and shifted logits, its gradient and curvature by scale and shift.

    Args:
        scores: logits `[patients, outputs]`.
        labels: class indices `[patients]`, or labels `[patients, outputs]`, NaN where unknown, if `several`.
        theta: logarithm of the scale, then shifts; `[rows, width]`.
        several: see `fit_temperature`.
    """
    if several:
        return _stacked([_binary(scores[:, row], labels[:, row], theta[row]) for row in range(len(theta))])
    scaled = scores * np.exp(theta[0, 0])
    logits = scaled + theta[0, 1:]
    logits = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    seen = np.eye(scores.shape[1])[labels.astype(np.int64)]
    slope = chance - seen
    loss = np.log(np.exp(logits).sum(axis=1)) - (logits * seen).sum(axis=1)
    unit = np.eye(scores.shape[1])
    path = np.concatenate([scaled[:, :, None], np.broadcast_to(unit, (*scores.shape, len(unit)))], axis=2)
    spread = np.einsum("nk,kl->nkl", chance, unit) - chance[:, :, None] * chance[:, None, :]
    return _stacked(
        [
            {
                "patients": np.float64(len(scores)),
                "loss": loss.sum(),
                "gradient": np.einsum("nk,nkp->p", slope, path),
                "curvature": np.einsum("nkp,nkl,nlq->pq", path, spread, path, optimize=True),
                "bend": (slope * scaled).sum(),
            }
        ]
    )


def _binary(score: Floats, label: Floats, theta: Floats) -> dict[str, Any]:
    known = ~np.isnan(label)
    scaled, label = score[known] * np.exp(theta[0]), label[known]
    logit = scaled + theta[1]
    chance = np.exp(-np.logaddexp(0, -logit))
    path = np.stack([scaled, np.ones_like(scaled)])
    return {
        "patients": np.float64(len(label)),
        "loss": (np.logaddexp(0, logit) - label * logit).sum(),
        "gradient": path @ (chance - label),
        "curvature": (path * chance * (1 - chance)) @ path.T,
        "bend": ((chance - label) * scaled).sum(),
    }


def _stacked(rows: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([np.asarray(row[name], dtype=np.float64) for row in rows]) for name in rows[0]}


def fit_baseline(ask: Steady, weights: Arrays, times: Grid, points: int, cuts: int) -> Weights:
    """Breslow's baseline hazard on the grid, and quantiles of risk, over train and validation patients of hospitals.

    Args:
        ask: the sites.
        weights: of the model.
        times: the grid.
        points: that the head keeps of the curve.
        cuts: between groups of equally many patients.

    Returns:
        The head's buffers `baseline_days`, `baseline_hazard` and `cuts`.

    Raises:
        UserError: if nobody had the event.
    """
    shape = (1, len(times))
    sums = ask(BASELINE, weights, {"events": shape, "risk": shape, "eta": (1, 1)})
    table = RiskSums.empty(times).filled(sums)
    days = np.flatnonzero(table.events[0])
    if not len(days):
        raise UserError("task.head: no hospital saw an event before the grid's end; give cox.years more, or other data")
    hazard = np.cumsum(table.events[0, days] / table.risk[0, days])
    at = np.rint(np.linspace(0, len(days) - 1, points)).astype(np.int64)
    return {
        "head.baseline_days": times.values[days][at].astype(np.float32),
        "head.baseline_hazard": hazard[at].astype(np.float32),
        "head.cuts": quantiles(ask, weights, cuts).astype(np.float32),
    }


def most_edges(count: int) -> int:
    """How many values `quantiles` asks a hospital to count below, at most, for so many quantiles."""
    return 2 * count * _EDGES


def quantiles(ask: Steady, weights: Arrays, count: int, output: int = 0) -> Floats:
    """Quantiles that part patients into `count` + 1 equal groups of risk, linear between two patients: `[count]`.

    The two patients' risks are found by counting who lies below ever closer values; within 1e-6 of them. `output` is
    the cause whose risk it is, where there are several.
    """
    patients = int(_below(ask, weights, np.array([np.inf]), output)[0])
    places = np.arange(1, count + 1) / (count + 1) * (patients - 1)
    ranks = np.concatenate([np.floor(places), np.ceil(places)])
    low, high = np.full(len(ranks), -_FARTHEST), np.full(len(ranks), _FARTHEST)
    for _ in range(_HALVINGS):
        edges = np.linspace(low, high, _EDGES, axis=1)
        # The rank-th risk lies below the first edge that more than `rank` patients lie below.
        beyond = _below(ask, weights, edges.reshape(-1), output).reshape(edges.shape) > ranks[:, None]
        first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), _EDGES - 1)
        rows = np.arange(len(ranks))
        low, high = edges[rows, np.maximum(first - 1, 0)], edges[rows, first]
    risks = ((low + high) / 2).reshape(2, count)
    return np.asarray(risks[0] + (places - np.floor(places)) * (risks[1] - risks[0]))


def _below(ask: Steady, weights: Arrays, edges: Floats, output: int) -> Floats:
    question = {"edges": edges, "output": np.array([output])}
    return ask(RISKS, weights, {"patients": (len(edges),)}, question)["patients"]
