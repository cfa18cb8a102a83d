"""Survival without proportional hazards: the chance of the event in each of some intervals of time."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from finetune.calibration import fit_temperature
from finetune.experts.responses import Label, Response
from finetune.heads.base import Blocks, Columns, Targets, readout
from finetune.heads.follow_up import GROUPS, FollowUp, concordance, has_pairs
from finetune.metrics import Column, Metric
from finetune.statistics.discrete import DiscreteStatistics
from foundation.errors import UserError

EDGES = [182, 365, 547, 730, 1095, 1460, 1825, 2555, 3650]  # days: finer where more is seen


class DiscreteHazards(FollowUp):
    """A logit an interval: that the event comes in it, given that it did not come before.

    The likelihood of grouped times (Brown 1975; Gensheimer & Narasimhan 2019): a patient counts in each interval that
    they lived through, and in that of their event; in that of their censoring if they lived through half of it.

    Args:
        width: of the patient embedding.
        event: label column, 1 where the event was seen and 0 where the patient was censored.
        time: label column, days to event or censoring.
        horizons: days at which survival probabilities are given, up to the last edge.
        edges: days at which intervals end; the first begins at 0.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.

    Raises:
        UserError: if edges or horizons do not rise from above 0, or edges end before a horizon.
    """

    separable = True
    risk_name = "log_cumulative_hazard"
    log_scale: Tensor
    shift: Tensor
    cuts: Tensor

    def __init__(
        self,
        width: int,
        event: str = "os_event",
        time: str = "os_days",
        horizons: list[int] | None = None,
        edges: list[int] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__(event, time, horizons)
        self.width = width
        self.edges = list(edges or EDGES)
        if any(low >= high for low, high in pairwise([0, *self.edges])):
            raise UserError(f"task.head.edges: found {self.edges}; give days that rise from above 0")
        if max(self.horizons) > self.edges[-1]:
            raise UserError(
                f"task.head.horizons: {max(self.horizons)} days is beyond the last edge, {self.edges[-1]}; give more "
                "task.head.edges"
            )
        self.dropout = dropout
        self.score = readout(width, len(self.edges), dropout, blocks)
        self.register_buffer("log_scale", torch.zeros(1))
        self.register_buffer("shift", torch.zeros(1))
        self.register_buffer("cuts", torch.zeros(len(GROUPS) - 1))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "event": self.event,
            "time": self.time,
            "horizons": self.horizons,
            "edges": self.edges,
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def responses(self, targets: Columns) -> list[Response]:
        event, time = (torch.from_numpy(targets[name]) for name in self.targets)
        label, counts = intervals_lived(event, time, self.edges)
        return [Label(column) for column in torch.where(counts, label, torch.nan).double().numpy().T]

    def loss(self, scores: Float[Tensor, "batch intervals"], targets: Targets) -> Tensor:
        """Negative log-likelihood a patient."""
        label, counts = intervals_lived(targets[self.event], targets[self.time], self.edges)
        losses = functional.binary_cross_entropy_with_logits(scores, label, reduction="none") * counts
        return losses.sum(dim=1).mean()

    def calibrate(
        self, scores: Float[Tensor, "validation intervals"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """One temperature and shift for all intervals, and the tertiles of risk."""
        scores = scores.detach()

        def loss(scale: Tensor, shift: Tensor) -> Tensor:
            return self.loss(scores * scale + shift, targets)

        fit_temperature(loss, self.log_scale, self.shift)
        risk = torch.from_numpy(self.risk(self.estimate(torch.cat([train[0].detach(), scores])).double().numpy()))
        self.cuts.copy_(risk.quantile(torch.linspace(0, 1, len(GROUPS) + 1)[1:-1].double()))

    def predict(self, scores: Float[Tensor, "batch intervals"]) -> list[dict[str, Any]]:
        curve = self.estimate(scores).double().cpu().numpy()
        risk = self.risk(curve)
        groups = np.searchsorted(self.cuts.double().cpu().numpy(), risk)
        survival = self.statistics().survival(curve, np.array(self.horizons, dtype=np.float64))
        return self.answers(risk.tolist(), groups.tolist(), survival.tolist())

    def estimate(self, scores: Float[Tensor, "batch intervals"]) -> Float[Tensor, "batch intervals"]:
        """Survival to the end of each interval."""
        logits = scores * self.log_scale.exp() + self.shift
        return functional.logsigmoid(-logits).cumsum(dim=1).exp()

    def risk(self, estimates: Column) -> Float[np.ndarray, " patients"]:
        """Logarithm of the cumulative hazard up to the last horizon; of a model that ranks alone, what it says."""
        return self.statistics().risk(estimates)

    def metrics(self) -> dict[str, Metric]:
        return {"c_index": Metric(lambda e, t, curve: concordance(e, t, self.risk(curve)), has_pairs, chance=0.5)}

    def statistics(self) -> DiscreteStatistics:
        cuts = self.cuts.double().cpu().tolist()
        return DiscreteStatistics(self.event, self.time, self.horizons, self.edges, cuts)


def intervals_lived(
    event: Float[Tensor, " batch"], time: Float[Tensor, " batch"], edges: list[int]
) -> tuple[Float[Tensor, "batch intervals"], Bool[Tensor, "batch intervals"]]:
    """Whether the event comes in each interval, and whether the patient counts in it."""
    ends = torch.tensor(edges, dtype=time.dtype, device=time.device)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    seen = (event == 1)[:, None]
    label = seen & (time[:, None] <= ends) & ((time[:, None] > starts) | ((time[:, None] <= 0) & (starts == 0)))
    lived = time[:, None] >= torch.where(seen, ends, (starts + ends) / 2)
    return label.to(time.dtype), label | lived
