"""A hospital's answers to questions of Cox regression: covariates, risk sets and gradients of its own patients."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.federated.cox import (
    RISK_GRADIENT,
    RISK_INFORMATION,
    RISK_MOMENTS,
    RISK_SETS,
    STRATUM,
    risk_information,
    risk_moments,
    stratum,
)
from finetune.federated.features import targets_of
from finetune.federated.module import FederatedModule
from finetune.heads.survival import Survival
from foundation.data.dataset import PatientDataset
from foundation.federation.weights.types import Arrays
from foundation.statistics.cox import RiskSums, Ties
from foundation.statistics.grid import Grid

NAMES = (RISK_MOMENTS, RISK_INFORMATION, RISK_SETS, RISK_GRADIENT, STRATUM)


class SurvivalAnswers:
    """What a hospital says of its patients.

    Args:
        module: with the weights that are asked about.
        part: patients with known follow-up.
        fused: their embeddings, `[patients, width]`.
        times: the grid.
        ties: of events at one time of it.
    """

    def __init__(
        self, module: FederatedModule, part: PatientDataset, fused: Tensor, times: Grid, ties: Ties = "efron"
    ) -> None:
        assert isinstance(module.head, Survival)
        self.module = module
        self.head = module.head.double().eval()
        self.fused = fused.double()
        self.times = times
        self.ties: Ties = ties
        targets = targets_of(part)
        self.event, self.time = (targets[name].numpy().astype(np.float64) for name in self.head.targets)

    def answer(self, name: str, question: Arrays) -> dict[str, NDArray[Any]]:
        """The arrays to a question of one of `NAMES`."""
        if name == RISK_SETS:
            eta = self._eta().detach().numpy()
            return dict(RiskSums.from_patients(self.event, self.time, eta, self.times).to_arrays())
        if name == RISK_GRADIENT:
            return self._gradient(question)
        at = (self.event, self.time, self._covariates(), self.times, np.asarray(question["beta"]))
        if name == RISK_MOMENTS:
            return risk_moments(*at)
        if name == RISK_INFORMATION:
            return {"information": risk_information(*at, question["weight"], question["tied"])}
        return stratum(*at, self.ties)

    def _eta(self) -> Tensor:
        return self.head(self.fused).squeeze(1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _covariates(self) -> NDArray[np.float64]:
        """What the last layer sees: `[patients, width]`."""
        *body, _ = cast("nn.Sequential", self.head.score)
        covariates: NDArray[np.float64] = nn.Sequential(*body)(self.fused).numpy()
        return covariates

    def _gradient(self, question: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """By parameter that learns, the hospital's part of the gradient of the pooled loss."""
        learning = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        eta = self._eta()
        slope = RiskSums.empty(self.times).filled(dict(question)).gradient(self.event, self.time, eta.detach().numpy())
        parts = torch.autograd.grad((eta * torch.from_numpy(slope)).sum(), list(learning.values()), allow_unused=True)
        return {
            name: np.zeros(tuple(value.shape)) if part is None else part.double().numpy()
            for (name, value), part in zip(learning.items(), parts, strict=True)
        }
