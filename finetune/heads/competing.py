"""Competing risks: the chance that an event of each cause comes first, by cause-specific hazards of intervals."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from finetune.baseline import cox
from finetune.calibration import fit_temperature
from finetune.experts.responses import Hazard, Label, Response
from finetune.heads.base import PROBABILITY, Blocks, Columns, Head, TargetCounts, Targets, object_schema, readout
from finetune.heads.discrete import EDGES, intervals_lived
from finetune.heads.follow_up import GROUPS, beyond_follow_up, concordance, has_pairs, horizons_of, too_few
from finetune.metrics import Column, Metric
from finetune.statistics.cause import CauseStatistics, incidence_at
from finetune.statistics.competing import CompetingStatistics
from foundation.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CompetingRisks(Head):
    """A logit a cause and interval: that an event of the cause comes in it, given that none came before.

    Hazards of an interval are multinomial, free of any event being the reference; their likelihood is that of grouped
    times with several causes (Tutz & Schmid 2016, ch. 8). A patient counts in each interval that they lived through,
    and in that of their event; in that of their censoring if they lived through half of it. Incidence of a cause sums
    its hazards, each times the chance to have come that far without any event.

    Args:
        width: of the patient embedding.
        cause: label column, 0 where the patient was censored, else the place of the cause in `causes`, from 1.
        time: label column, days to the event or to censoring.
        causes: names, the one of interest first.
        horizons: days at which incidence is given, up to the last edge.
        edges: days at which intervals end, two or more; the first begins at 0.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.

    Raises:
        UserError: if causes are no list of two or more names, each once, there are fewer than two edges, or edges or
            horizons do not rise or end before a horizon.
    """

    kind = "competing risks"
    separable = True
    log_scale: Tensor
    shift: Tensor
    cuts: Tensor

    def __init__(
        self,
        width: int,
        causes: Sequence[str],
        cause: str = "cause",
        time: str = "os_days",
        horizons: list[int] | None = None,
        edges: list[int] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        self.width, self.cause, self.time, self.dropout = width, cause, time, dropout
        self.targets = [cause, time]
        if not isinstance(causes, list | tuple):  # a text is a sequence too, of letters
            raise UserError(f"task.head.causes: found {causes!r}; give a list of names, such as [disease, other]")
        self.causes = [str(name) for name in causes]
        self.horizons = horizons_of(horizons)
        self.edges = list(edges or EDGES)
        _check_declared(self.causes, self.horizons, self.edges)
        self.score = readout(width, len(self.causes) * len(self.edges), dropout, blocks)
        self.register_buffer("log_scale", torch.zeros(1))
        self.register_buffer("shift", torch.zeros(len(self.causes)))
        self.register_buffer("cuts", torch.zeros(len(self.causes), len(GROUPS) - 1))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "causes": self.causes,
            "cause": self.cause,
            "time": self.time,
            "horizons": self.horizons,
            "edges": self.edges,
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def count(self, targets: Columns) -> TargetCounts:
        """Counts of causes alone: days would be told patient by patient."""
        return TargetCounts.of({self.cause: targets[self.cause]})

    def check(self, counts: TargetCounts) -> None:
        by_value = counts.by_target[self.cause]
        unknown = sorted(value for value in by_value if value not in range(len(self.causes) + 1))
        if unknown:
            raise UserError(
                f"task.head.causes: {self.cause} holds {unknown[0]:g}, but causes are numbered 1 to "
                f"{len(self.causes)} ({', '.join(self.causes)}), 0 is censored; name all causes, in order"
            )
        for place, name in enumerate(self.causes, start=1):
            if not by_value.get(place):
                raise UserError(
                    f"task.head: none of {counts.patients} training patients has {self.cause} = {place} ({name}); "
                    "a cause is learned from its events, so join it with another, or train on hospitals that saw some"
                )

    def doubts(self, targets: Columns) -> list[str]:
        return beyond_follow_up(self.horizons, self.time, targets[self.time])

    def scarce(self, counts: TargetCounts) -> list[str]:
        return too_few(
            {
                f"{self.cause} = {place} ({name})": count
                for place, (name, count) in enumerate(self.outcomes(counts).items(), start=1)
            }
        )

    def responses(self, targets: Columns) -> list[Response]:
        """Each cause against no event, those of other causes left out in their interval (Begg & Gray 1984)."""
        cause, time = (torch.from_numpy(targets[name]) for name in self.targets)
        outcome, counts = self.causes_by_interval(cause, time)
        columns = []
        for place in range(1, len(self.causes) + 1):
            known = counts & ((outcome == place) | (outcome == 0))
            columns += torch.where(known, (outcome == place).double(), torch.nan).numpy().T.tolist()
        return [Label(np.array(column)) for column in columns]

    def ranking_responses(self, targets: Columns) -> list[Response]:
        """The hazard of each cause, the others censored when they came."""
        cause, time = (targets[name] for name in self.targets)
        events = (np.where(np.isnan(cause), np.nan, cause == place) for place in range(1, len(self.causes) + 1))
        return [Hazard(event, time) for event in events]

    def loss(self, scores: Float[Tensor, "batch outputs"], targets: Targets) -> Tensor:
        """Negative log-likelihood a patient."""
        outcome, counts = self.causes_by_interval(targets[self.cause], targets[self.time])
        losses = functional.cross_entropy(self._logits(scores), outcome, reduction="none") * counts
        return losses.sum(dim=1).mean()

    def calibrate(
        self, scores: Float[Tensor, "validation outputs"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """One temperature, a shift a cause, and the tertiles of each cause's risk."""
        by_cause = self._by_cause(scores.detach())

        def loss(scale: Tensor, shift: Tensor) -> Tensor:
            return self.loss((by_cause * scale + shift[:, None]).flatten(start_dim=1), targets)

        fit_temperature(loss, self.log_scale, self.shift)
        estimates = self.estimate(torch.cat([train[0].detach(), scores.detach()])).double().numpy()
        thirds = np.linspace(0, 1, len(GROUPS) + 1)[1:-1]
        cuts = [np.quantile(risk, thirds) for risk in self._risks(estimates)]
        self.cuts.copy_(torch.from_numpy(np.stack(cuts)))

    def predict(self, scores: Float[Tensor, "batch outputs"]) -> list[dict[str, Any]]:
        estimates = self.estimate(scores).double().cpu().numpy()
        curves = [incidence_at(curve, self.edges, self.horizons) for curve in self._curves(estimates)]
        cuts = self.cuts.double().cpu().numpy()
        groups = [np.searchsorted(cuts[place], risk) for place, risk in enumerate(self._risks(estimates))]
        free = np.clip(1 - np.sum(curves, axis=0), 0, 1)
        return [
            {
                "incidence": {name: self._named(curves[place][row]) for place, name in enumerate(self.causes)},
                "event_free": self._named(free[row]),
                "risk_group": {name: GROUPS[groups[place][row]] for place, name in enumerate(self.causes)},
            }
            for row in range(len(estimates))
        ]

    def prediction_schema(self) -> dict[str, Any]:
        chances = object_schema(dict.fromkeys(self._horizon_names, PROBABILITY))
        return object_schema(
            {
                "incidence": object_schema(dict.fromkeys(self.causes, chances)),
                "event_free": chances,
                "risk_group": object_schema({name: {"enum": list(GROUPS)} for name in self.causes}),
            }
        )

    def estimate(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """Cumulative incidence to the end of each interval, a cause's together."""
        by_cause = self._by_cause(scores) * self.log_scale.exp() + self.shift[:, None]
        log_chance = self._logits(by_cause.flatten(start_dim=1)).log_softmax(dim=1)
        free = functional.pad(log_chance[:, 0].cumsum(dim=1)[:, :-1], (1, 0))
        incidence: Tensor = (log_chance[:, 1:] + free[:, None]).exp().cumsum(dim=2).flatten(start_dim=1)
        return incidence

    def metrics(self) -> dict[str, Metric]:
        """The mean over causes that are defined, then each cause by itself."""
        by_cause = [self._metric(place) for place in range(len(self.causes))]

        def mean(*columns: Column) -> float:
            return float(np.mean([each.value(*columns) for each in by_cause if each.defined(*columns[:-1])]))

        def defined(*columns: Column) -> bool:
            return any(each.defined(*columns) for each in by_cause)

        named = {f"c_index/{name}": metric for name, metric in zip(self.causes, by_cause, strict=True)}
        return {"c_index": Metric(mean, defined, chance=0.5), **named}

    def statistics(self) -> CompetingStatistics:
        cuts, declared = self.cuts.double().cpu().tolist(), (self.time, self.horizons, self.edges)
        return CompetingStatistics(
            [
                CauseStatistics(self.cause, place + 1, name, *declared, cuts[place])
                for place, name in enumerate(self.causes)
            ]
        )

    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        by_value = counts.by_target[self.cause]
        return {name: by_value.get(place, 0) for place, name in enumerate(self.causes, start=1)}

    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        """Log hazard of each cause by Cox regression, slightly ridged, the others censored: `[test, causes]`."""
        cause, time = (targets[name] for name in self.targets)
        columns = [
            cox(train, (cause == place).astype(np.float64), time, test) for place in range(1, len(self.causes) + 1)
        ]
        return np.stack(columns, axis=1)

    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """Cumulative incidence of the first cause, by third of its predicted risk."""
        from finetune.plots import incidence_curves  # here, for serving draws nothing

        kind = self.statistics().parts[0].kinds(targets)
        incidence_curves(axes, self.causes[0], kind, targets[self.time], self._risks(estimates)[0], GROUPS)

    def _metric(self, place: int) -> Metric:
        """Harrell's C of one cause, the others censored when they came."""

        def event(cause: Column) -> Column:
            return np.asarray(cause == place + 1, dtype=np.float64)

        def value(cause: Column, time: Column, estimates: Column) -> float:
            return concordance(event(cause), time, self._risks(estimates)[place])

        return Metric(value, lambda cause, time: has_pairs(event(cause), time), chance=0.5)

    def causes_by_interval(
        self, cause: Float[Tensor, " batch"], time: Float[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor]:
        """The cause of each interval, 0 for none, and whether the patient counts in it: `[batch, intervals]` each."""
        comes, counts = intervals_lived((cause > 0).to(time.dtype), time, self.edges)
        return comes.long() * cause.nan_to_num().long()[:, None], counts

    def _by_cause(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch causes intervals"]:
        by_cause: Tensor = scores.unflatten(1, (len(self.causes), len(self.edges)))
        return by_cause

    def _logits(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch kinds intervals"]:
        """With that of no event, which is 0, before those of the causes."""
        return functional.pad(self._by_cause(scores), (0, 0, 1, 0))

    def _curves(self, estimates: Column) -> list[Column]:
        """Of each cause, `[patients, intervals]`."""
        return list(estimates.reshape(len(estimates), len(self.causes), len(self.edges)).transpose(1, 0, 2))

    def _risks(self, estimates: Column) -> list[Column]:
        """By what each cause ranks patients, `[patients]`; estimates may be of a model that ranks alone."""
        return self.statistics().risks(estimates)

    def _named(self, chances: Column) -> dict[str, float]:
        return dict(zip(self._horizon_names, chances.tolist(), strict=True))

    @property
    def _horizon_names(self) -> list[str]:
        return [f"{days}_days" for days in self.horizons]


def _check_declared(causes: list[str], horizons: list[int], edges: list[int]) -> None:
    if len(causes) < 2 or len(set(causes)) < len(causes) or any("/" in name for name in causes):
        raise UserError(f"task.head.causes: found {causes}; name two or more, each once and without '/'")
    if len(edges) < 2 or any(low >= high for low, high in pairwise([0, *edges])):
        raise UserError(f"task.head.edges: found {edges}; give two or more days that rise from above 0")
    if max(horizons) > edges[-1]:
        raise UserError(f"task.head.horizons: found {horizons}; give days up to the last edge, {edges[-1]}")
