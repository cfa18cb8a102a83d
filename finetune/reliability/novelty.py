"""How unlike the patients whom the model learnt from a block of features is: too far from them, or too near their mean.

A block's covariance is that of a probabilistic principal component model (Tipping & Bishop 1999), so the Mahalanobis
distance has two parts: along the leading axes, and off them (Hotelling's T² and Q of process control: Jackson &
Mudholkar 1979). Both are looked at from both sides: an empty image or a constant profile lies nearer to the mean than
any patient does (typicality: Nalisnick et al. 2019). Parts are logarithms, in units of how patients of other hospitals
spread.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

COMPONENTS = 16
PARTS = 2
_RARE = 0.3  # of the block's own spread, added to a feature's: a mutation that one patient has would outweigh all else
_FARTHEST = 1e4  # spreads
_LEAST = 1e-3  # of a variance, and of a part whose logarithm is taken: rounding must not tell patients apart
SIDES = (15.87, 50.0, 84.13)  # percentiles: a normal's standard deviation on either side of its median
_NARROWEST = 0.05
_MANY = 8  # features, of which one patient's mean tells that it is nearer than usual
FEWEST = 20  # patients, to know how they spread


class Axes(NamedTuple):
    """A block's model: `mean`, `scale` `[size]`, `rotation` `[size, components]`, `variance` `[components]`, `rest`."""

    mean: Floats
    scale: Floats
    rotation: Floats
    variance: Floats
    rest: float

    @classmethod
    def of(cls, values: Floats, components: int) -> "Axes":
        """Of patients who have the block, `[patients, size]` with NaN where a feature is missing."""
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(axis=0) / count)
        scale = scale_of(spread)
        standard = np.nan_to_num((values - mean) / scale)
        variance, leading = _leading(standard, axes_kept(len(standard), standard.shape[1], components))
        return cls.made(mean, scale, variance, leading, float((standard**2).sum()), len(standard), components)

    @classmethod
    def made(
        cls, mean: Floats, scale: Floats, variance: Floats, leading: Floats, squares: float, count: int, components: int
    ) -> "Axes":
        """Of `count` patients' leading axes, and the sum of squares of all their standardised features."""
        size, kept = leading.shape
        rest = (squares / count - float(variance.sum())) / max(1, size - kept)
        rotation, spreads = np.zeros((size, components)), np.full(components, np.inf)
        rotation[:, :kept], spreads[:kept] = leading, np.maximum(variance, _LEAST)
        return cls(mean, scale, rotation, spreads, max(rest, _LEAST))


def scale_of(spread: Floats) -> Floats:
    """By what each feature is divided, given its own standard deviation: `[size]`."""
    typical = max(float(np.sqrt((spread**2).mean())), 1e-6)
    return np.hypot(spread, _RARE * typical)


def axes_kept(patients: int, size: int, components: int) -> int:
    """How many axes so many patients tell."""
    return max(1, min(components, patients // 4, size // 2))


def _leading(standard: Floats, count: int) -> tuple[Floats, Floats]:
    """Variances and unit vectors `[size, count]` of the leading axes, from the smaller matrix of products."""
    patients, size = standard.shape
    wide = size > patients
    squares, axes = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    squares, axes = squares[::-1][:count], axes[:, ::-1][:, :count]
    if wide:
        axes = standard.T @ axes / np.sqrt(np.maximum(squares, 1e-12))
    return np.maximum(squares, 0.0) / patients, np.asarray(axes)


class Novelty(nn.Module):
    """The score of one block.

    Args:
        size: features.
        components: leading axes.

    Attributes:
        middle: median of each part among patients left out, `[2]`.
        below, above: their spread on either side, `[2]`; infinite where too few tell it, and nobody is unlike.
    """

    mean: Tensor
    scale: Tensor
    rotation: Tensor
    variance: Tensor
    rest: Tensor
    middle: Tensor
    below: Tensor
    above: Tensor

    def __init__(self, size: int, components: int = COMPONENTS) -> None:
        super().__init__()
        self.components = components
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("rotation", torch.zeros(size, components))
        self.register_buffer("variance", torch.ones(components))
        self.register_buffer("rest", torch.ones(1))
        self.register_buffer("middle", torch.zeros(PARTS))
        self.register_buffer("below", torch.full((PARTS,), torch.inf))
        self.register_buffer("above", torch.full((PARTS,), torch.inf))

    def parts(self, values: Float[Tensor, "batch size"]) -> Float[Tensor, "batch 2"]:
        """Logarithms of the distance along the axes and off them, a feature each; NaN where the block is missing."""
        known = ~values.isnan()
        standard = ((values - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST).masked_fill(~known, 0.0)
        places = self._places(standard, known)
        used = self.variance.isfinite().sum().clamp(min=1)
        along = (places.square() / self.variance).sum(dim=1) / used
        off = (standard - (places @ self.rotation.T).masked_fill(~known, 0.0)).square().sum(dim=1)
        free = (known.sum(dim=1) - used).clamp(min=1)
        parts = torch.stack([along, off / (free * self.rest)], dim=1).clamp(min=_LEAST).log()
        return parts.masked_fill(~known.any(dim=1, keepdim=True), torch.nan)

    def _places(self, standard: Tensor, known: Tensor) -> Float[Tensor, "batch components"]:
        """Where patients lie on the axes, as expected given the features that are known."""
        size, count = self.rotation.shape
        products = (self.rotation[:, :, None] * self.rotation[:, None]).reshape(size, count * count)
        weights = (known.to(products) @ products).reshape(-1, count, count)
        drawn = torch.where(self.variance.isfinite(), self.rest / self.variance, 1.0)  # an unused axis has no weights
        places: Tensor = torch.linalg.solve(weights + torch.diag(drawn), standard @ self.rotation)
        return places

    def forward(self, values: Float[Tensor, "batch size"]) -> Float[Tensor, " batch"]:
        """The larger of both parts' distances from the median, in spreads of that side; NaN where it is missing.

        Who is known by few features can be too far, and never too near: whoever is known by an age alone lies near the
        mean.
        """
        parts = self.parts(values)
        few = (~values.isnan()).sum(dim=1, keepdim=True) < _MANY
        return self.distances(torch.where(few, parts.maximum(self.middle), parts))

    def fit(self, values: Floats, judged: NDArray[np.bool_], folds: Sequence[NDArray[np.intp]]) -> Float[Tensor, " n"]:
        """Learns from patients.

        Args:
            values: of all of them, `[patients, size]`, NaN where missing.
            judged: which of them tell how far patients spread, `[patients]`: each by axes of the other folds.
            folds: rows, such as a hospital's each.

        Returns:
            Scores of those judged, by axes of the other folds, `[patients]`; NaN for others.
        """
        present = np.asarray(~np.isnan(values).all(axis=1))
        parts = torch.full((len(values), PARTS), torch.nan)
        for fold in folds:
            rest = np.setdiff1d(np.flatnonzero(present), fold)
            rows = fold[judged[fold] & present[fold]]
            if len(rest) >= FEWEST and len(rows):
                axes = Axes.of(values[rest], self.components)
                parts[torch.from_numpy(rows)] = self.parts_by(axes, values[rows])
        known = parts[~parts.isnan().any(dim=1)].double().numpy()
        if len(known) >= FEWEST:
            self.spread(*np.percentile(known, SIDES, axis=0))
        self.take(Axes.of(values[present], self.components))
        return self.distances(parts)

    @classmethod
    def parts_by(cls, axes: Axes, values: Floats) -> Float[Tensor, "batch 2"]:
        """Parts of patients, `[batch, size]`, by some axes.

        They are reckoned in double precision: what rounding tells axes apart by, such as in which order hospitals are
        added, is gone once parts are given in single.
        """
        module = cls(values.shape[1], len(axes.variance)).double()
        module.take(axes)
        return module.parts(torch.from_numpy(values)).float()

    def spread(self, low: Floats, middle: Floats, high: Floats) -> None:
        """Takes percentiles of each part (`SIDES`) among patients left out, `[2]` each."""
        below, between, above = (torch.from_numpy(row).float() for row in (low, middle, high))
        self.middle.copy_(between)
        # No narrower than the logarithm of a mean of so many squares, by chance alone: to axes of few hospitals, those
        # left out may all be about as far.
        chance = torch.tensor([self.components, len(self.mean)]).reciprocal().mul(2.0).sqrt()
        self.below.copy_((between - below).maximum(chance).clamp(min=_NARROWEST))
        self.above.copy_((above - between).clamp(min=_NARROWEST))

    def distances(self, parts: Float[Tensor, "batch 2"]) -> Float[Tensor, " batch"]:
        """The score of parts.

        Too near is told from the median of those left out, or from 0 where that is higher, the logarithm of what is
        usual among those learnt from: to axes of two hospitals, a third one's patients may all be far.
        """
        far, near = parts - self.middle, self.middle.clamp(max=0.0) - parts
        return torch.maximum(far / self.above, near / self.below).max(dim=1).values

    def take(self, axes: Axes) -> None:
        """Takes axes as its own."""
        self.mean.copy_(torch.from_numpy(axes.mean))
        self.scale.copy_(torch.from_numpy(axes.scale))
        self.rotation.copy_(torch.from_numpy(axes.rotation))
        self.variance.copy_(torch.from_numpy(axes.variance))
        self.rest.fill_(axes.rest)
