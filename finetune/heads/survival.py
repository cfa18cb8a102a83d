"""Survival: a proportional hazard learned by Cox's partial likelihood."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finetune.experts.responses import Hazard, Response
from finetune.heads.base import Blocks, Columns, Targets, readout
from finetune.heads.follow_up import GROUPS, FollowUp, concordance, has_pairs
from finetune.metrics import Column, Metric
from finetune.statistics.survival import SurvivalStatistics
from foundation.errors import UserError

_GRID = 64


class Survival(FollowUp):
    """A linear head for the log hazard, with Breslow's baseline for survival probabilities.

    Args:
        width: of the patient embedding.
        event: label column, 1 where the event was seen and 0 where the patient was censored.
        time: label column, days to event or censoring.
        horizons: days at which survival probabilities are given.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.
    """

    risk_name = "log_hazard"
    baseline_days: Tensor
    baseline_hazard: Tensor
    cuts: Tensor

    def __init__(
        self,
        width: int,
        event: str = "os_event",
        time: str = "os_days",
        horizons: list[int] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__(event, time, horizons)
        self.width = width
        self.dropout = dropout
        self.score = readout(width, 1, dropout, blocks)
        self.register_buffer("baseline_days", torch.zeros(_GRID))
        self.register_buffer("baseline_hazard", torch.zeros(_GRID))
        self.register_buffer("cuts", torch.zeros(len(GROUPS) - 1))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "event": self.event,
            "time": self.time,
            "horizons": self.horizons,
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def responses(self, targets: Columns) -> list[Response]:
        return [Hazard(targets[self.event], targets[self.time])]

    def loss(self, scores: Float[Tensor, "batch 1"], targets: Targets) -> Tensor | None:
        return cox_loss(scores.squeeze(1), targets[self.event], targets[self.time])

    def calibrate(self, scores: Float[Tensor, "validation 1"], targets: Targets, train: tuple[Tensor, Targets]) -> None:
        """Breslow's baseline and the tertiles of risk, over training and validation patients together.

        Raises:
            UserError: if none of them had the event, such as where experts know only patients who did not.
        """
        risk = torch.cat([train[0], scores]).squeeze(1).detach()
        event, time = (torch.cat([train[1][name], targets[name]]) for name in (self.event, self.time))
        if not bool((event == 1).any()):
            raise UserError(
                f"task.modalities: none of the {len(event)} patients who have what is read has {self.event} = 1; "
                "survival is learned from events seen, so read what others have, too"
            )
        days, hazard = breslow_baseline(risk, event, time)
        # A grid of fixed length keeps the buffer's shape independent of the cohort.
        at = torch.linspace(0, len(days) - 1, _GRID).round().long()
        self.baseline_days.copy_(days[at])
        self.baseline_hazard.copy_(hazard[at])
        self.cuts.copy_(risk.quantile(torch.linspace(0, 1, len(GROUPS) + 1)[1:-1]))

    def predict(self, scores: Float[Tensor, "batch 1"]) -> list[dict[str, Any]]:
        risk = self.estimate(scores)
        position = torch.searchsorted(self.baseline_days, torch.tensor(self.horizons, dtype=torch.float), right=True)
        cumulative = torch.cat([torch.zeros(1), self.baseline_hazard])[position]
        survival = torch.exp(-cumulative[None] * risk.exp()[:, None])
        groups = torch.bucketize(risk, self.cuts)
        return self.answers(risk.tolist(), groups.tolist(), survival.tolist())

    def estimate(self, scores: Float[Tensor, "batch 1"]) -> Float[Tensor, " batch"]:
        """Log hazard relative to the baseline."""
        return scores.squeeze(1)

    def risk(self, estimates: Column) -> Column:
        return estimates

    def metrics(self) -> dict[str, Metric]:
        return {"c_index": Metric(concordance, has_pairs, chance=0.5)}

    def statistics(self) -> SurvivalStatistics:
        days, hazard, cuts = (
            buffer.numpy().astype(np.float64) for buffer in (self.baseline_days, self.baseline_hazard, self.cuts)
        )
        return SurvivalStatistics(self.event, self.time, self.horizons, (days, hazard), cuts=cuts.tolist())


def cox_loss(
    risk: Float[Tensor, " batch"], event: Float[Tensor, " batch"], time: Float[Tensor, " batch"]
) -> Tensor | None:
    """Negative log partial likelihood a seen event, ties by Breslow (Cox 1972; Breslow 1974).

    Patients censored before the first event teach nothing; None if no event was seen at all.
    """
    seen = event == 1
    if not bool(seen.any()):
        return None
    at_risk = time[None, :] >= time[seen][:, None]
    partition = risk[None].masked_fill(~at_risk, float("-inf")).logsumexp(dim=1)
    return (partition - risk[seen]).mean()


def breslow_baseline(
    risk: Float[Tensor, " patients"], event: Float[Tensor, " patients"], time: Float[Tensor, " patients"]
) -> tuple[Float[Tensor, " times"], Float[Tensor, " times"]]:
    """Days of events and the cumulative baseline hazard up to and including each (Breslow 1974)."""
    days = time[event == 1].unique()
    at_risk = (time[None, :] >= days[:, None]).float()
    deaths = ((time[None, :] == days[:, None]) & (event == 1)[None]).sum(dim=1)
    return days, torch.cumsum(deaths / (at_risk @ risk.exp()), dim=0)
