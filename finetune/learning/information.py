"""What patients told of each weight: Fisher information at a release's weights, as a sum over patients.

Information of a patient is J' H J, with J the derivatives of their scores by weights and H the curvature of the loss by
their scores (Gauss and Newton's matrix, which is Fisher's for the likelihoods here; Martens 2020). Of Cox's loss, which
couples patients, H holds each patient's own curvature alone. Hospitals add these sums, and a release adds its own to
those that it went on from, so that earlier patients need not be kept.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from finetune.heads.base import Head, Targets
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.tensors import read_tensors, write_tensors

FILE = "information.safetensors"
_PATIENTS = "information.json"
_WHOLE = 1024  # weights up to which their information is kept as a whole matrix, not its diagonal alone
_ADVICE = "train the release again with keeps.information=true"


@dataclass(frozen=True)
class Information:
    """A sum over patients.

    Attributes:
        patients: behind it.
        names: of the weights, in order, with their sizes.
        values: `[weights, weights]`, or its diagonal `[weights]` where there are more than 1024.
    """

    patients: int
    names: dict[str, int]
    values: Tensor

    @classmethod
    def nobody(cls, weights: Mapping[str, Tensor]) -> Self:
        """Before anybody was seen."""
        names = {name: value.numel() for name, value in weights.items()}
        size = sum(names.values())
        return cls(0, names, torch.zeros((size, size) if size <= _WHOLE else (size,), dtype=torch.float64))

    def add(self, patients: int, factors: Tensor) -> "Information":
        """With patients whose information is `factors' factors`, `[rows, weights]`."""
        factors = factors.double()
        more = factors.T @ factors if self.values.ndim == 2 else (factors**2).sum(dim=0)
        return Information(self.patients + patients, self.names, self.values + more)

    def __add__(self, other: "Information") -> "Information":
        parts = [one.values for one in (self, other)]
        if parts[0].ndim != parts[1].ndim:  # a diagonal, of more weights once, beside a whole matrix
            parts = [torch.diag(values) if values.ndim == 1 else values for values in parts]
        return Information(self.patients + other.patients, self.names, parts[0] + parts[1])

    def of(self, moves: Mapping[str, Tensor]) -> Tensor:
        """Twice the loss of the likelihood of these patients when weights move so, to second order."""
        flat = torch.cat([moves[name].flatten() for name in self.names])
        values = self.values.to(flat.device, flat.dtype)
        return flat @ values @ flat if values.ndim == 2 else (values * flat**2).sum()

    def on(self, weights: Mapping[str, Tensor], folder: Path) -> "Information":
        """Of those weights alone that a run changes.

        Raises:
            UserError: naming the first of which nothing is known.
        """
        sizes = {name: value.numel() for name, value in weights.items()}
        different = sorted(sizes.items() - self.names.items())
        if different:
            raise UserError(
                f"{folder / FILE}: of other weights than this run changes ({different[0][0]}); give frozen= and "
                "encoder as there"
            )
        ends = dict(zip(self.names, itertools.accumulate(self.names.values()), strict=True))
        rows = torch.cat([torch.arange(ends[name] - size, ends[name]) for name, size in sizes.items()])
        values = self.values[rows][:, rows] if self.values.ndim == 2 else self.values[rows]
        return Information(self.patients, sizes, values)

    def write(self, folder: Path) -> None:
        """Into a run's folder."""
        write_tensors(folder / FILE, {"information": self.values})
        write_json(folder / _PATIENTS, {"patients": self.patients, "names": list(self.names.items())})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a release.

        Raises:
            UserError: if it kept none.
        """
        content = read_json(folder / _PATIENTS, _ADVICE, "patients", "names")
        values = read_tensors(folder / FILE, _ADVICE)["information"]
        return cls(int(content["patients"]), {str(name): int(size) for name, size in content["names"]}, values)


def curvature(head: Head, scores: Tensor, targets: Targets) -> Tensor:
    """Of the sum over patients of the loss, by each patient's own scores: `[patients, outputs, outputs]`."""
    scores = scores.detach().requires_grad_()
    loss = head.loss(scores, targets)
    assert loss is not None
    (slopes,) = torch.autograd.grad(loss * len(scores), scores, create_graph=True)
    rows = [
        torch.stack(
            [torch.autograd.grad(slope, scores, retain_graph=True)[0][place] for slope in slopes[place].unbind()]
        )
        for place in range(len(scores))
    ]
    return torch.stack(rows)
