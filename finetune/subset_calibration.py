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

from finetune.heads.base import Head, Targets
from finetune.reliability.fit import looked_at
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
    buffers = dict(head.named_buffers())
    if not {"log_scale", "shift"} <= set(buffers) or len(modalities) < 2:
        return None
    outputs = scores(list(modalities)).shape[1]
    temperature, pooled_shift = (_by_output(buffers[name], outputs) for name in ("log_scale", "shift"))
    module = SubsetCalibration(modalities, outputs)
    for code in looked_at(len(module.modalities)):
        names = [name for bit, name in enumerate(module.modalities) if code >> bit & 1]
        raw = scores(names)
        there = ~raw.isnan().any(dim=1)
        known = {name: column[there] for name, column in targets.items()}
        lack = _lack(head, known, targets, settings)
        if lack is not None:
            module.pooled.append({"modalities": names, "lack": lack})
            continue
        logits = raw[there] * temperature.exp() + pooled_shift
        again = copy.deepcopy(head)  # fits temperature and shift as the head does, drawn towards the pooled ones
        again.calibrate(logits, known, (logits[:0], {name: column[:0] for name, column in known.items()}))
        fitted = dict(again.named_buffers())
        scale, shift = (_by_output(fitted[name], outputs) for name in ("log_scale", "shift"))
        module.scale[code] = scale.exp()
        module.shift[code] = (pooled_shift * scale.exp() + shift - pooled_shift) / temperature.exp()
        module.fitted.append({"modalities": names, "patients": int(there.sum())})
    return module.eval()


def _lack(head: Head, targets: Targets, everybody: Targets, settings: Settings) -> str | None:
    """What a subset's patients lack, in words; None where nothing is."""
    count = len(next(iter(targets.values())))
    if count < settings.patients:
        return f"{count} validation patients with these, of {settings.patients} that it takes"
    here, known = (
        head.count({name: column.double().numpy() for name, column in columns.items()}).by_target
        for columns in (targets, everybody)
    )
    fewest = min(here[name].get(value, 0) for name, by_value in known.items() for value in by_value)
    if fewest < settings.outcome:
        return f"{fewest} validation patients of an outcome, of {settings.outcome} that it takes"
    return None


def _by_output(values: Tensor, outputs: int) -> Float[Tensor, " outputs"]:
    """One of all outputs, of each, or of each cause, whose intervals stand together, spread over the outputs."""
    return values.detach().repeat_interleave(outputs // len(values))
