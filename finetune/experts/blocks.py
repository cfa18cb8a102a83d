"""A block of plain features on its main axes: standardised, held in reach and rotated, by sums over patients alone."""

from dataclasses import dataclass, replace

import numpy as np

from finetune.experts.responses import Floats, Response, score_statistics

COMPONENTS = 64
CLIP = 4.0
_LEAST = 1e-4
_BINARY_SPREAD = 0.2
_REACH = 2.0


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal components of a block, from means and second moments that hospitals can add up.

    A patient whose features all stand out together is brought nearer: of 386 gliomas two have over 500 mutated genes,
    others seven, and by those two alone penalties and weights were chosen for everybody.

    Attributes:
        mean: of each feature, `[size]`; a feature that is missing takes it.
        scale: its spread; infinite for one that never varies, which so says nothing.
        rotation: `[size, components]`; components have unit variance on average, so that a penalty means the same for
            every block.
        reach: the greatest length of a patient's standardised features: twice the mean, and no less than one feature
            alone may have; `[]`.
    """

    mean: Floats
    scale: Floats
    rotation: Floats
    reach: Floats

    @classmethod
    def of(cls, values: Floats, components: int = COMPONENTS) -> "Axes":
        """Those of patients who have the block, `[patients, size]` with NaN where a feature is missing."""
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, values, 0.0)
        mean = filled.sum(axis=0) / count
        spread = np.sqrt(np.where(known, (filled - mean) ** 2, 0.0).sum(axis=0) / count)
        # A mutation that one patient in a hundred has would weigh ten times what a frequent one does.
        binary = (np.isin(filled, (0.0, 1.0)) | ~known).all(axis=0)
        scale = np.where(binary, np.hypot(spread, _BINARY_SPREAD), spread)
        scale = np.where(spread < _LEAST, np.inf, scale)
        lengths = np.linalg.norm(standardise(values, mean, scale, np.asarray(np.inf)), axis=1)
        reach = np.maximum(CLIP, _REACH * lengths.sum() / max(len(lengths), 1))
        return cls(mean, scale, _rotation(standardise(values, mean, scale, reach), components), reach)

    def towards(self, values: Floats, response: Response, power: float, components: int = COMPONENTS) -> "Axes":
        """Axes of the same features, each weighed by how much it tells of a response, itself alone.

        Main axes follow what varies most among genes, of which little may bear on the target; so components are
        supervised (Bair et al. 2006), here by weights instead of a threshold.

        Args:
            values: of patients whose response is known, `[patients, size]`.
            response: of them.
            power: of a feature's score statistic, by which it is weighed; 0 weighs all alike.
            components: to keep.
        """
        standard = standardise(values, self.mean, self.scale, self.reach)
        statistics = np.abs(score_statistics(standard, response))
        weight = (statistics / max(np.sqrt((statistics**2).mean()), _LEAST)) ** power
        return replace(self, rotation=weight[:, None] * _rotation(standard * weight, components))

    def project(self, values: Floats) -> Floats:
        """Patients on the axes, `[patients, components]`."""
        return np.asarray(standardise(values, self.mean, self.scale, self.reach) @ self.rotation)


def standardise(values: Floats, mean: Floats, scale: Floats, reach: Floats) -> Floats:
    """Features in units of their spread, limited to four of them, zero where missing; a longer row brought to reach."""
    standard = np.nan_to_num(np.clip((values - mean) / scale, -CLIP, CLIP))
    lengths = np.linalg.norm(standard, axis=1, keepdims=True)
    return np.asarray(standard * np.minimum(1.0, reach / np.maximum(lengths, 1e-12)))


def _rotation(standard: Floats, components: int) -> Floats:
    """Leading axes, from the smaller of the two matrices of products."""
    patients, size = standard.shape
    wide = size > patients
    variance, axes = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    kept = np.argsort(-variance)[: min(components, patients, size)]
    kept = kept[variance[kept] > max(variance.max(initial=0.0), 1.0) * 1e-9]
    if not len(kept):
        return np.zeros((size, 1))
    axes, variance = axes[:, kept], variance[kept]
    rotation = standard.T @ axes / np.sqrt(variance) if wide else axes
    return np.asarray(rotation / np.sqrt(variance.sum() / len(variance) / patients))
