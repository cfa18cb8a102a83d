"""The baselines of a task: each block of its features by itself, blocks side by side, and what is simpler still."""

import itertools
from functools import partial

import numpy as np

from finetune.baselines.base import Baseline
from finetune.baselines.colour import colour_statistics
from finetune.experts.responses import Floats
from finetune.features import FeatureCache
from foundation.modalities.images import ImageSet
from foundation.modalities.record.encoder import Record

_COMPONENTS = 16
_MANY = 200  # features of a block, for components of it to be a baseline of its own


def baselines_of(features: FeatureCache, modalities: list[str]) -> list[Baseline]:
    """Those of some modalities, in the order of the blocks of their features.

    Blocks of one modality stand side by side of patients who have each of them, too: mutations and copy number, say, of
    those who have both, and all of it with the record.
    """
    baselines = []
    records = [name for name in modalities if isinstance(features.encoder.modalities[name], Record)]
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
            for some in (*itertools.combinations(sizes, 2), tuple(sizes)):
                baselines.append(_complete(features, {modality: list(some)}, " and ".join(some)))
            for record in records:
                wanted = {modality: list(sizes), record: list(features.encoder.feature_sizes([record]))}
                baselines.append(_complete(features, wanted, f"all of {modality} and {record}"))
    return list({baseline.name: baseline for baseline in baselines}.values())  # of two blocks a pair is all


def _complete(features: FeatureCache, wanted: dict[str, list[str]], words: str) -> Baseline:
    """A ridge on blocks of modalities side by side, of patients who have all of them."""

    def source(patients: list[str]) -> Floats:
        blocks = [_block(features, name, [block], patients) for name, some in wanted.items() for block in some]
        lacking = np.any([np.isnan(block).all(axis=1) for block in blocks], axis=0)
        return np.where(lacking[:, None], np.nan, np.concatenate(blocks, axis=1))

    return Baseline(f"ridge on {words}", source)


def _block(features: FeatureCache, modality: str, wanted: list[str], patients: list[str]) -> Floats:
    values = features.of(patients, [modality])
    parts, start = [], 0
    for block, size in features.encoder.feature_sizes([modality]).items():
        if block in wanted:
            parts.append(values[:, start : start + size])
        start += size
    return np.concatenate(parts, axis=1)
