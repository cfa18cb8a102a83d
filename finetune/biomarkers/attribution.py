"""Attributions of a score to many inputs, and how faithful they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from captum.metrics import infidelity, infidelity_perturb_func_decorator
from torch import Tensor

from foundation.statistics.figure import Figure
from foundation.statistics.table import Floats

Score = Callable[[Tensor], Tensor]  # `[patients, inputs]` with NaN where not measured to `[patients]`
SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the inputs, that a deletion curve takes away
_STEPS = (32, 128, 512)  # of the integral, the more the more sharply a score bends
_GAP = 0.02  # of attributions' sum to the change of score, in its standard deviations, that needs no more steps
_ROWS = 256  # of patients and steps that pass through the model together
_RANDOM = 5
_PERTURBED = 0.1  # share of inputs that a perturbation takes away
_PERTURBATIONS = 20


@dataclass(frozen=True)
class Attributed:
    """What inputs add to scores.

    Attributes:
        values: inputs, `[patients, inputs]`, NaN where not measured.
        baseline: of each input: `[inputs]`.
        shares: added by each to its patient's score, `[patients, inputs]`; zero where not measured.
        gap: largest difference of their sum to the change of score from the baseline, relative to the spread of scores.
    """

    values: Tensor
    baseline: Tensor
    shares: Tensor
    gap: float


def integrated_gradients(score: Score, values: Tensor, baseline: Tensor) -> Attributed:
    """Integrated gradients from a baseline (Sundararajan, Taly & Yan 2017), what is missing left missing.

    Args:
        score: of the model.
        values: `[patients, inputs]`, NaN where not measured.
        baseline: `[inputs]`, such as the training patients' means.
    """
    known = ~values.isnan()
    start = baseline.expand_as(values)
    method = IntegratedGradients(_masked(score), multiply_by_inputs=True)
    with torch.no_grad():
        spread = score(values).std().clamp(min=1e-9)
    for steps in _STEPS:
        shares, delta = method.attribute(
            torch.where(known, values, start),
            start.contiguous(),
            additional_forward_args=(known,),
            n_steps=steps,
            internal_batch_size=max(_ROWS, len(values)),
            return_convergence_delta=True,
        )
        gap = float(delta.abs().max() / spread)
        if gap <= _GAP:
            break
    return Attributed(values, baseline, shares.detach() * known, gap)


@torch.no_grad()
def deletion(score: Score, attributed: Attributed, seed: int) -> tuple[Floats, Floats]:
    """How far scores fall when inputs go to the baseline, those that add most first, and random ones.

    Returns:
        `[patients, shares]` each; the random ones are means of several orders, of as many measured inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    known = ~attributed.values.isnan()
    full = score(attributed.values)
    ordered = _falls(score, attributed, attributed.shares.masked_fill(~known, -torch.inf), full)
    drawn = [
        _falls(score, attributed, torch.rand(known.shape, generator=generator).masked_fill(~known, -torch.inf), full)
        for _ in range(_RANDOM)
    ]
    return ordered, np.mean(drawn, axis=0)


def infidelity_figures(score: Score, attributed: Attributed, seed: int) -> dict[str, Figure]:
    """Infidelity (Yeh et al. 2019) to random sets of inputs at their baseline, relative to knowing nothing.

    0 is a perfect account of what taking sets of inputs away does to the score, 1 is one that says nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(attributed.shares.shape[1], generator=generator)
    accounts = {
        "infidelity": (attributed.shares, "infidelity of integrated gradients, relative to that of no attribution"),
        "infidelity_shuffled": (attributed.shares[:, shuffled], "the same, attributions given to other inputs"),
    }
    nothing = _infidelity(score, attributed, torch.zeros_like(attributed.shares), seed)
    n = len(attributed.values)
    figures = {}
    for name, (shares, text) in accounts.items():
        if nothing <= 0:
            figures[name] = Figure(None, None, None, n, {}, text, reason="no perturbation changes a score")
            continue
        figures[name] = Figure(_infidelity(score, attributed, shares, seed) / nothing, None, None, n, {}, text)
    return figures


def _infidelity(score: Score, attributed: Attributed, shares: Tensor, seed: int) -> float:
    known = ~attributed.values.isnan()
    start = attributed.baseline.expand_as(attributed.values).contiguous()
    inputs = torch.where(known, attributed.values, start)
    generator = torch.Generator().manual_seed(seed)

    def perturb(seen: Tensor, baselines: Tensor) -> Tensor:
        away = torch.rand(seen.shape, generator=generator) < _PERTURBED
        return torch.where(away, baselines, seen)

    with torch.no_grad():
        values = infidelity(
            _masked(score),
            infidelity_perturb_func_decorator(multiply_by_inputs=True)(perturb),
            inputs,
            shares,
            baselines=start,
            additional_forward_args=(known,),
            n_perturb_samples=_PERTURBATIONS,
            max_examples_per_batch=min(max(_ROWS, len(inputs)), _PERTURBATIONS * len(inputs)),
        )
    return float(values.mean())


def _masked(score: Score) -> Callable[[Tensor, Tensor], Tensor]:
    """The score of values of which some are missing: attribution methods pass numbers alone."""

    def masked(values: Tensor, known: Tensor) -> Tensor:
        return score(torch.where(known, values, torch.nan))

    return masked


def _falls(score: Score, attributed: Attributed, priority: Tensor, full: Tensor) -> Floats:
    """Falls of the score by share of the known inputs taken away, those of highest priority first."""
    rank = priority.argsort(dim=1, descending=True).argsort(dim=1)
    known = ~attributed.values.isnan()
    count = known.sum(dim=1, keepdim=True)
    falls = []
    for share in SHARES:
        away = known & (rank < (share * count).ceil())
        falls.append(full - score(torch.where(away, attributed.baseline, attributed.values)))
    return np.asarray(torch.stack(falls, dim=1).double().numpy())
