"""Correction of a site's drift from the others (FedProx, SCAFFOLD), as terms of its training loss."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.errors import UserError

Arrays = Mapping[str, NDArray[np.generic]]


class DriftCorrection:
    """Holds a site's training near the round's start (FedProx) or turns it towards all sites' direction (SCAFFOLD).

    As terms of the loss they work under any optimiser, precision and data-parallel strategy. A term speaks of the
    parameters of those groups alone that the step teaches, so that it moves nothing that the data leave alone.

    Args:
        groups: by name of a parameter to correct, its group. What stays at the site is not in it.
        proximal: mu of mu/2 * ||w - w0||^2 (FedProx, Li et al. 2020); w0 are the weights that the round starts from.
        correction: by parameter, c - c_i (SCAFFOLD, Karimireddy et al. 2020); its product with w is the term, so that
            plain SGD steps along g - c_i + c.

    Attributes:
        rates: by group, the sum of learning rates of the steps that trained it: K * lr of SCAFFOLD's option II.
    """

    def __init__(self, groups: Mapping[str, str], proximal: float = 0.0, correction: Arrays | None = None) -> None:
        if not (np.isfinite(proximal) and proximal >= 0):
            raise UserError(f"strategy.proximal: found {proximal}; give a number from 0 on")
        self.groups = groups
        self.proximal = proximal
        self.correction = correction or {}
        self.rates: Counter[str] = Counter()
        self._parts: dict[str, list[tuple[nn.Parameter, Tensor, Tensor | None]]] = defaultdict(list)

    def begin(self, module: nn.Module) -> None:
        """Takes the weights as they are as those to stay near.

        Raises:
            UserError: if the weights are spread over processes, so that none has them to correct.
        """
        self._parts.clear()
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad or name not in self.groups:
                continue
            if hasattr(parameter, "ds_id"):
                raise UserError(
                    "trainer.strategy: ZeRO-3 spreads weights over processes, so FedProx and SCAFFOLD cannot steer "
                    "them; train with deepspeed_zero2 at this site, or run another strategy"
                )
            correction = self.correction.get(name)
            pull = None
            if correction is not None:
                pull = torch.from_numpy(np.array(correction)).to(parameter.device, torch.float32)
            start = parameter.detach().clone() if self.proximal else parameter.new_empty(0)
            self._parts[self.groups[name]].append((parameter, start, pull))

    def term(self, trained: Collection[str], rate: float) -> Tensor | None:
        """The loss to add to a step's own; None where there is nothing to correct.

        Args:
            trained: groups that the step trains, on any process.
            rate: the step's learning rate, or its share of one where several batches make a step.
        """
        terms = []
        for group in trained:
            self.rates[group] += rate  # type: ignore[assignment]
            for parameter, start, pull in self._parts[group]:
                if self.proximal:
                    terms.append(self.proximal / 2 * (parameter - start).float().square().sum())
                if pull is not None:
                    terms.append((parameter.float() * pull).sum())
        return torch.stack(terms).sum() if terms else None


def control_change(
    start: Arrays, end: Arrays, server: Arrays, groups: Mapping[str, str], rates: Mapping[str, float]
) -> dict[str, NDArray[np.float32]]:
    """What a round adds to a site's control variate: c_i+ - c_i = (w0 - w) / (K * lr) - c (SCAFFOLD, option II).

    K * lr is the sum of the rates of those steps that trained the parameter's group, so a group that was not trained
    keeps its control variate. For plain SGD the new control variate is the mean gradient of the round's steps. With
    momentum, AdamW or clipped gradients it is the mean step in units of the rate: a heuristic without proof.

    Args:
        start: weights that the round started from.
        end: weights after it.
        server: c; zero where it names nothing.
        groups: by parameter, its group.
        rates: of `DriftCorrection`.
    """
    change = {}
    for name, group in groups.items():
        if rates.get(group, 0.0) > 0:
            moved = np.asarray(start[name], np.float64) - np.asarray(end[name], np.float64)
            change[name] = np.asarray(moved / rates[group] - np.asarray(server.get(name, 0.0)), dtype=np.float32)
    return change


def correction_of(server: Arrays, site: Arrays, groups: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
    """The correction c - c_i of every parameter to correct that either of the two names."""
    named = [name for name in groups if name in server or name in site]
    return {
        name: np.asarray(np.asarray(server.get(name, 0.0)) - np.asarray(site.get(name, 0.0)), dtype=np.float32)
        for name in named
    }
