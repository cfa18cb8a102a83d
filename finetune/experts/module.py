"""Experts as a module: buffers alone, saved and loaded like any head's weights."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from finetune.experts.blocks import CLIP
from finetune.experts.fit import Committee, fit_committee
from finetune.experts.responses import Floats, Response
from foundation.errors import UserError

_MOST_BLOCKS = 12  # their subsets are counted: a row of the table each
_LEAST = 1e-12  # squared, of a length: a root has no slope at nothing


class Experts(nn.Module):
    """Linear experts of blocks of features, combined by a rule for each subset of blocks.

    Args:
        blocks: sizes by name, in the order of the features.
        outputs: scores a patient.

    Attributes:
        mean, scale: of each feature, `[features]`.
        reach: of each block, the greatest length of its standardised features, `[blocks]`.
        weight: of each feature in its block's score, `[features, outputs]`.
        bias: of each block's score, `[blocks, outputs]`.
        rules: by subset of blocks (a bit each), weights of the blocks' scores and a shift: `[subsets, blocks + 1,
            outputs]`. A block without an expert weighs nothing in any.
    """

    mean: Tensor
    scale: Tensor
    reach: Tensor
    weight: Tensor
    bias: Tensor
    rules: Tensor

    def __init__(self, blocks: Mapping[str, int], outputs: int) -> None:
        super().__init__()
        if len(blocks) > _MOST_BLOCKS:
            raise UserError(f"task.modalities: {len(blocks)} blocks of features; experts take {_MOST_BLOCKS} at most")
        self.blocks = dict(blocks)
        self.outputs = outputs
        features = sum(blocks.values())
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("reach", torch.full((len(blocks),), torch.inf))
        self.register_buffer("weight", torch.zeros(features, outputs))
        self.register_buffer("bias", torch.zeros(len(blocks), outputs))
        self.register_buffer("rules", torch.zeros(2 ** len(blocks), len(blocks) + 1, outputs))

    def forward(self, values: Float[Tensor, "batch features"]) -> Float[Tensor, "batch outputs"]:
        """Scores of features that are NaN where a patient has none; a block of which all are NaN is missing."""
        missing = values.isnan()
        standard = ((values - self.mean) / self.scale).clamp(-CLIP, CLIP).masked_fill(missing, 0.0)
        scores, present = [], []
        for index, (place, _) in enumerate(self._places()):
            length = standard[:, place].square().sum(dim=1, keepdim=True).clamp(min=_LEAST).sqrt()
            within = standard[:, place] * (self.reach[index] / length).clamp(max=1.0)
            scores.append(within @ self.weight[place] + self.bias[index])
            present.append(~missing[:, place].all(dim=1))
        return self.combine(torch.stack(scores, dim=1), torch.stack(present, dim=1))

    def combine(
        self, scores: Float[Tensor, "batch blocks outputs"], present: Bool[Tensor, "batch blocks"]
    ) -> Float[Tensor, "batch outputs"]:
        """One score of those of the blocks that a patient has, by the rule of this subset."""
        subset = sum(who.long() << bit for bit, who in enumerate(present.unbind(dim=1)))
        rule = self.rules[subset]
        combined: Tensor = (rule[:, :-1] * scores).sum(dim=1) + rule[:, -1]
        return combined

    def fit(
        self, values: Floats, responses: Sequence[Response], hospitals: Sequence[str], distil: bool = True
    ) -> "LeftOut":
        """Fits all outputs exactly.

        Args:
            values: features, `[patients, features]`.
            responses: one an output, of the patients.
            hospitals: of the patients.
            distil: teach experts by what all of them know (`finetune.experts.fit`).

        Returns:
            Scores of the patients by fits that have not seen their hospital.
        """
        blocks = self.split(values)
        committees = [fit_committee(blocks, response, hospitals, distil) for response in responses]
        for output, committee in enumerate(committees):
            self.take(committee, output)
        left_out = np.full((len(values), len(blocks), len(responses)), np.nan)
        for output, committee in enumerate(committees):
            for index, expert in enumerate(committee.experts.values()):
                if expert is not None:
                    left_out[:, index, output] = expert.scores
        return LeftOut(self, _tensor(left_out))

    def split(self, values: Floats) -> dict[str, Floats]:
        """Features `[patients, features]` by block, `[patients, size]` each."""
        return {name: values[:, place] for place, name in self._places()}

    def take(self, committee: Committee, output: int) -> None:
        """Takes over a committee for one output: rotation and coefficients as one weight a feature, and its rules."""
        fitted = [expert is not None for expert in committee.experts.values()]
        for index, (place, name) in enumerate(self._places()):
            expert = committee.experts[name]
            if expert is not None:
                axes = expert.axes
                self.mean[place], self.scale[place] = _tensor(axes.mean), _tensor(axes.scale)
                self.reach[index] = float(axes.reach)
                self.weight[place, output] = _tensor(axes.rotation @ expert.beta[:-1])
                self.bias[index, output] = float(expert.beta[-1])
        for code in range(len(self.rules)):
            bits = np.array([bool(code >> bit & 1) for bit in range(len(fitted))])
            rule = committee.rules[bits[fitted].tobytes()]
            weights = np.zeros(len(fitted))
            weights[fitted] = rule.weights
            self.rules[code, :, output] = _tensor(np.append(weights, rule.shift))

    def _places(self) -> list[tuple[slice, str]]:
        """Where each block's features are."""
        ends = list(itertools.accumulate(self.blocks.values()))
        return [(slice(end - size, end), name) for end, (name, size) in zip(ends, self.blocks.items(), strict=True)]


@dataclass(frozen=True)
class LeftOut:
    """Scores of patients by fits that have not seen their hospital.

    Attributes:
        experts: that combine them.
        by_block: `[patients, blocks, outputs]`, NaN for who lacks a block, or where it has no expert.
    """

    experts: Experts
    by_block: Float[Tensor, "patients blocks outputs"]

    def scores(self, blocks: Collection[str] | None = None) -> Float[Tensor, "patients outputs"]:
        """Combined, of some blocks alone; of all if None. NaN for those of whom no expert knows anything."""
        shown = torch.tensor([blocks is None or name in blocks for name in self.experts.blocks])
        known = ~self.by_block.isnan() & shown[:, None]
        values = self.by_block.nan_to_num()
        combined = [
            self.experts.combine(values, known[..., output])[:, output] for output in range(self.experts.outputs)
        ]
        return torch.stack(combined, dim=1).masked_fill(~known.any(dim=1), torch.nan)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.asarray(values)).float()
