"""Calibration by subset of modalities: what a head trained by steps says from one of them is not as sure as from all.

On top of the head's pooled temperature, each subset of which enough validation patients tell has a scale and a shift of
its own; any other keeps the pooled ones. Experts need none: their combination is calibrated for any subset.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from finetune.heads.base import Columns, Head, TargetCounts, Targets
from finetune.reliability.fit import subsets_of
from foundation.errors import UserError


@dataclass(frozen=True)
class Settings:
    """The config's `calibration`: what a subset must have to be calibrated by itself.

    Args:
        patients: validation patients who have all of its modalities.
        outcome: of them, for each value of a label that the validation patients have.

    Raises:
        UserError: if one of them is no count.
    """

    patients: int = 50
    outcome: int = 10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"calibration.{name}: found {value}; give a count from 1 on")


class SubsetCalibration(nn.Module):
    """Scale and shift of a head's raw scores by the subset of modalities that they rest on.

    Args:
        modalities: that the task looks at, in order.
        outputs: raw scores a patient.
        fitted: subsets that have their own, with the validation patients who told.
        pooled: other subsets that were looked at, with what they lack.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        outputs: int,
        fitted: Sequence[Mapping[str, Any]] = (),
        pooled: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.modalities, self.outputs = list(modalities), outputs
        self.fitted, self.pooled = [dict(row) for row in fitted], [dict(row) for row in pooled]
        self.register_buffer("scale", torch.ones(2 ** len(self.modalities), outputs))
        self.register_buffer("shift", torch.zeros(2 ** len(self.modalities), outputs))

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {
            "modalities": self.modalities,
            "outputs": self.outputs,
            "fitted": self.fitted,
            "pooled": self.pooled,
        }

    def forward(
        self, scores: Float[Tensor, "batch outputs"], present: Bool[Tensor, "batch modalities"]
    ) -> Float[Tensor, "batch outputs"]:
        """Scores that the head's pooled calibration then takes as its own."""
        codes = (present.long() << torch.arange(len(self.modalities), device=present.device)).sum(dim=1)
        return scores * self.scale[codes].to(scores.dtype) + self.shift[codes].to(scores.dtype)

    def of_subset(self, scores: Float[Tensor, "batch outputs"], names: Sequence[str]) -> Float[Tensor, "batch outputs"]:
        """The same of patients all seen through one subset."""
        present = torch.tensor([name in names for name in self.modalities], device=scores.device)
        calibrated: Tensor = self(scores, present.expand(len(scores), -1))
        return calibrated

    def take(self, names: Sequence[str], patients: int, head: Head, log_scale: Tensor, shift: Tensor) -> None:
        """Takes what was fitted on logits of a subset's patients under the head's own temperature and shift."""
        pooled_scale, pooled_shift = _pooled(head, self.outputs)
        scale, more = _by_output(log_scale, self.outputs).exp(), _by_output(shift, self.outputs)
        code = sum(1 << self.modalities.index(name) for name in names)
        self.scale[code] = scale
        self.shift[code] = (pooled_shift * scale + more - pooled_shift) / pooled_scale
        self.fitted.append({"modalities": list(names), "patients": patients})

    def keep_pooled(self, names: Sequence[str], lack: str) -> None:
        """Leaves a subset at the head's own calibration, for what its patients lack."""
        self.pooled.append({"modalities": list(names), "lack": lack})

    def words(self, names: Sequence[str]) -> str:
        """What the answers from a subset are calibrated on, for tables."""
        rows = {frozenset(row["modalities"]): row for row in (*self.fitted, *self.pooled)}
        row = rows.get(frozenset(names), {"lack": "not looked at"})
        return f"pooled ({row['lack']})" if "lack" in row else f"{row['patients']} validation patients with these"

    def by_label(self, subsets: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """The same of several subsets, by their labels."""
        return {label: self.words(names) for label, names in subsets.items()}


def fit_subsets(
    head: Head, modalities: Sequence[str], scores: Callable[[list[str]], Tensor], targets: Targets, settings: Settings
) -> SubsetCalibration | None:
    """Fitted on the validation patients; None where the head's calibration is no temperature and shift.

    Args:
        head: calibrated on all of them.
        modalities: that the task looks at.
        scores: raw ones from some modalities alone, `[patients, outputs]`, NaN for who lacks one of them.
        targets: `[patients]` each.
        settings: least support.
    """
    if not can_calibrate(head, modalities):
        return None
    outputs = scores(list(modalities)).shape[1]
    module = SubsetCalibration(modalities, outputs)
    everybody = head.count(_columns(targets))
    for names in subsets_of(module.modalities):
        raw = scores(names)
        there = ~raw.isnan().any(dim=1)
        known = {name: column[there] for name, column in targets.items()}
        lack = lacking(head.count(_columns(known)), everybody, settings)
        if lack is not None:
            module.keep_pooled(names, lack)
            continue
        logits = pooled_logits(head, raw[there])
        again = copy.deepcopy(head)  # fits temperature and shift as the head does, drawn towards the pooled ones
        again.calibrate(logits, known, (logits[:0], {name: column[:0] for name, column in known.items()}))
        fitted = dict(again.named_buffers())
        module.take(names, int(there.sum()), head, fitted["log_scale"], fitted["shift"])
    return module.eval()


def can_calibrate(head: Head, modalities: Sequence[str]) -> bool:
    """Whether the head's calibration is a temperature and a shift, and there are subsets to calibrate."""
    return {"log_scale", "shift"} <= set(dict(head.named_buffers())) and len(modalities) > 1


def pooled_logits(head: Head, raw: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
    """Raw scores under the head's own temperature and shift."""
    scale, shift = _pooled(head, raw.shape[1])
    return raw * scale.to(raw) + shift.to(raw)


def lacking(here: TargetCounts, everybody: TargetCounts, settings: Settings) -> str | None:
    """What a subset's patients lack, in words; None where nothing is.

    Args:
        here: counts of the subset's validation patients.
        everybody: those of all of them.
        settings: least support.
    """
    if here.patients < settings.patients:
        return f"{here.patients} validation patients with these, of {settings.patients} that it takes"
    by_target = everybody.by_target.items()
    fewest = min(here.by_target[name].get(value, 0) for name, by_value in by_target for value in by_value)
    if fewest < settings.outcome:
        return f"{fewest} validation patients of an outcome, of {settings.outcome} that it takes"
    return None


def _columns(targets: Targets) -> Columns:
    return {name: column.double().numpy() for name, column in targets.items()}


def _pooled(head: Head, outputs: int) -> tuple[Tensor, Tensor]:
    """The head's own scale and shift, by output."""
    buffers = dict(head.named_buffers())
    log_scale, shift = (_by_output(buffers[name], outputs) for name in ("log_scale", "shift"))
    return log_scale.exp(), shift


def _by_output(values: Tensor, outputs: int) -> Float[Tensor, " outputs"]:
    """One of all outputs, of each, or of each cause, whose intervals stand together, spread over the outputs."""
    return values.detach().repeat_interleave(outputs // len(values))
