"""A block's axes from sums that hospitals add, and that each takes its own off again.

Features are centred on the mean of all hospitals and divided by their mean absolute deviation first, so that sums lose
no digits, nor in masks that hold forty binary places. The total less a hospital's own sums gives the very axes that the
others' patients would give at one place.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from finetune.reliability.novelty import Axes, Floats, axes_kept, scale_of


class Moments(NamedTuple):
    """Sums over patients who have a block, of features as `standardised` gives them, 0 where one is missing.

    Attributes:
        patients: who have the block.
        products: of two features, `[size, size]`.
        known: patients of whom both of two features are known, `[size, size]`.
        crossed: a feature, over patients of whom the other is known, too: `[size, size]`.
    """

    patients: float
    products: Floats
    known: Floats
    crossed: Floats

    @classmethod
    def of(cls, values: Floats, centre: Floats, unit: Floats) -> "Moments":
        """Of a hospital's patients, `[patients, size]`, all NaN for who lacks the block."""
        values = values[~np.isnan(values).all(axis=1)]
        known = (~np.isnan(values)).astype(np.float64)
        standard = standardised(values, centre, unit)
        return cls(float(len(values)), standard.T @ standard, known.T @ known, standard.T @ known)

    def without(self, other: "Moments") -> "Moments":
        """Those of the patients who are not among the other's."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self._fields)
        return Moments(*(ours - theirs for ours, theirs in pairs))

    def axes(self, centre: Floats, unit: Floats, components: int) -> Axes:
        """What `Axes.of` gives of the patients."""
        count = np.maximum(np.diagonal(self.known), 1)
        mean = np.diagonal(self.crossed) / count
        variance = np.maximum(np.diagonal(self.products) / count - mean**2, 0.0)
        scale = scale_of(unit * np.sqrt(variance))
        shifted = self.products - self.crossed * mean - (self.crossed * mean).T + self.known * np.outer(mean, mean)
        ratio = unit / scale
        square = shifted * np.outer(ratio, ratio)
        size, patients = len(mean), round(self.patients)
        kept = axes_kept(patients, size, components)
        squares, leading = eigh(square, subset_by_index=[size - kept, size - 1])
        spread = np.maximum(squares[::-1], 0.0) / patients
        trace = float(np.trace(square))
        return Axes.made(centre + unit * mean, scale, spread, leading[:, ::-1], trace, patients, components)


def standardised(values: Floats, centre: Floats, unit: Floats) -> Floats:
    """Features about a centre, in units; 0 where one is missing."""
    return np.nan_to_num((values - centre) / unit)


def units(deviations: Floats, known: Floats) -> Floats:
    """Mean absolute deviations, from their sums; 1 for a feature that is the same of everybody."""
    mean = deviations / np.maximum(known, 1)
    return np.where(mean > 0, mean, 1.0)
