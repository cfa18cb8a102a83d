"""The baselines of a task: each block of its features by itself, and what is simpler still."""

from functools import partial

import numpy as np

from finetune.baselines.base import Baseline
from finetune.baselines.colour import colour_statistics
from finetune.experts.responses import Floats
from finetune.features import FeatureCache
from foundation.modalities.images import ImageSet

_COMPONENTS = 16
_MANY = 200  # features of a block, for components of it to be a baseline of its own


def baselines_of(features: FeatureCache, modalities: list[str]) -> list[Baseline]:
    """Those of some modalities, in the order of the blocks of their features."""
    baselines = []
    for modality in modalities:
        sizes = features.encoder.feature_sizes([modality])
        if isinstance(features.encoder.modalities[modality], ImageSet):
            colours = partial(colour_statistics, features.cohort, modality)
            baselines.append(Baseline(f"ridge on colours of {modality}", colours))
        for block, size in sizes.items():
            source = partial(_block, features, modality, [block])
            baselines.append(Baseline(f"ridge on {block}", source))
            if size > _MANY:
                name = f"{_COMPONENTS} components of {block}"
                baselines.append(Baseline(name, source, _COMPONENTS))
        if len(sizes) > 1:
            baselines.append(Baseline(f"ridge on {modality}", partial(_block, features, modality, list(sizes))))
    return baselines


def _block(features: FeatureCache, modality: str, wanted: list[str], patients: list[str]) -> Floats:
    values = features.of(patients, [modality])
    parts, start = [], 0
    for block, size in features.encoder.feature_sizes([modality]).items():
        if block in wanted:
            parts.append(values[:, start : start + size])
        start += size
    return np.concatenate(parts, axis=1)
