"""Tiles taken away one by one, and drawn where they lie on a slide."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from finetune.biomarkers import leave_out, pictures
from finetune.biomarkers.base import Part
from finetune.biomarkers.leave_out import Keep, curves, falls
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.page import table_of, words
from finetune.trial.base import patient_replicates
from foundation.data.sampler import draw_images
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.modalities.base import Modality, Tokens
from foundation.modalities.pathology.feature_files import read_features
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.pathology.tiling import FACTS, THUMBNAIL, TILES, read_tiles
from foundation.statistics.table import Floats

MODALITY = "pathology"
_MOST = 256  # tiles of a patient, spread evenly where there are more


@dataclass(frozen=True)
class Slide:
    """A slide's tiles and where they lie.

    Attributes:
        raw: pixels `[tiles, size, size, 3]` or features `[tiles, dim]`.
        corners: upper left, full-resolution pixels, `[tiles, 2]` (x, y).
        picture: of the whole slide, and full-resolution pixels to each of its own; None where there is none.
    """

    raw: NDArray[Any]
    corners: NDArray[np.int64]
    picture: tuple[Image.Image, float] | None = None


def read_slide(path: Path) -> Slide:
    """Of an HDF5 file of features, or of the folder of a slide that preparation cut into tiles.

    Raises:
        UserError: if it is neither.
    """
    if not path.is_dir():
        return Slide(*read_features(path))
    if not (path / TILES).is_file() or not (path / FACTS).is_file():
        raise UserError(f"evidence.slide: {path} holds no {TILES}; give an HDF5 file, or a slide's folder of the cache")
    table = pq.read_table(path / TILES, columns=["x", "y"]).to_pandas()
    picture = Image.open(io.BytesIO((path / THUMBNAIL).read_bytes())).convert("RGB")
    width = float(json.loads((path / FACTS).read_text())["dimensions"][0])
    return Slide(read_tiles(path), table.to_numpy(np.int64), (picture, width / picture.width))


def tile_keeper(scorer: Scorer, raw: NDArray[Any]) -> Keep:
    """Scores from pathology alone where only some tiles are shown; each image passes through its backbone once.

    Args:
        scorer: of the model.
        raw: tiles of a patient.
    """
    module = scorer.encoder.modalities[MODALITY]
    assert isinstance(module, Modality)
    if isinstance(module, TileFeatures) or scorer.head.reads_aligned:
        return lambda shown: _numbers(scorer.samples([{MODALITY: raw[some]} for some in shown]))
    inputs = module.transform(raw, None)
    single = module.collate([{name: value[row : row + 1] for name, value in inputs.items()} for row in range(len(raw))])
    with torch.no_grad():
        if not scorer.head.reads_features:
            tokens = module(single).values[:, 0]
            return lambda shown: _of_tokens(scorer, tokens, shown)
        blocks = module.features(single)
    values = torch.cat([blocks[name] for name in module.feature_sizes()], dim=1)
    return lambda shown: _of_features(scorer, torch.stack([values[some].mean(dim=0) for some in shown]))


def tile_part(scorer: Scorer, outcome: Outcome, settings: Settings, seed: int) -> Part:
    """How faithful falls of the score without single tiles are, over patients; and those of one slide, drawn."""
    dataset = scorer.dataset(outcome.patients, [MODALITY])
    ordered: list[Floats] = []
    random: list[Floats] = []
    chosen: list[str] = []
    for name in dataset.patients:
        raw = np.asarray(_spread(dataset.sample(name)[MODALITY]))
        if len(raw) < 2 or len(chosen) == settings.patients:
            continue
        keep = tile_keeper(scorer, raw)
        first, by_chance = curves(keep, falls(keep, len(raw)), seed)
        ordered.append(first)
        random.append(by_chance)
        chosen.append(name)
    part = Part()
    if len(chosen) >= 2:
        weights = patient_replicates(chosen, settings.resamples, seed)
        faithfulness = leave_out.figures(np.array(ordered), np.array(random), weights, "tiles")
        picture = pictures.deletion_curve(np.array(ordered), np.array(random), "tiles", leave_out.SHARES)
        note = (
            f"{len(chosen)} patients with two tiles or more, the score from pathology alone; a tile's own fall is that "
            f"of the score without it. At most {_MOST} tiles each, spread evenly."
        )
        part.sections.append(section("Tiles: faithfulness", [table_of(faithfulness)], picture, note=note))
        part.figures |= {f"tiles/{name}": figure for name, figure in faithfulness.items()}
        part.lead.append(
            f"Without the tiles that it rests on the score falls by {words(faithfulness['deletion_gain'])} more than "
            "without random ones."
        )
    return part if settings.slide is None else part + slide_part(scorer, settings.slide, seed)


def slide_part(scorer: Scorer, path: Path, seed: int) -> Part:
    """One slide's tiles by how far the score falls without each, with this slide's own deletion curve."""
    slide = read_slide(path)
    if len(slide.raw) < 2:
        raise UserError(f"evidence.slide: {path} has {len(slide.raw)} tile; tiles are taken away from at least 2")
    kept = draw_images(len(slide.raw), _MOST, None)
    keep = tile_keeper(scorer, slide.raw[kept])
    fall = falls(keep, len(kept))
    ordered, random = curves(keep, fall, seed)
    table = pd.DataFrame({"x": slide.corners[kept, 0], "y": slide.corners[kept, 1], "fall": fall})
    note = (
        f"{len(kept)} of {len(slide.raw)} tiles of {path.name}, at their places: red tiles raise the score, blue ones "
        f"lower it. Deleting those first lowers it by {ordered.mean():.3f} on average, random ones by "
        f"{random.mean():.3f}."
    )
    drawn = pictures.slide_map(slide.corners[kept], fall, slide.picture)
    return Part([], [section("Tiles on the slide", [], drawn, note=note)], {}, {"slide": table})


def _spread(raw: Any) -> Any:
    return raw[draw_images(len(raw), _MOST, None)]


def _of_tokens(scorer: Scorer, tokens: torch.Tensor, shown: list[list[int]]) -> Floats:
    most = max(map(len, shown))
    values, mask = tokens.new_zeros(len(shown), most, tokens.shape[1]), torch.zeros(len(shown), most, dtype=torch.bool)
    for row, some in enumerate(shown):
        values[row, : len(some)] = tokens[some]
        mask[row, : len(some)] = True
    with torch.no_grad():
        rows = {MODALITY: torch.arange(len(shown))}
        fused = scorer.encoder.fusion({MODALITY: Tokens(values, mask)}, rows, len(shown), {})
        alone = torch.tensor([name == MODALITY for name in scorer.modalities]).expand(len(shown), -1)
        return _numbers(scorer.scalar(scorer.model.scores_of(fused, alone)))


def _of_features(scorer: Scorer, values: torch.Tensor) -> Floats:
    parts = [
        values if name == MODALITY else values.new_full((len(values), _size(scorer, name)), torch.nan)
        for name in scorer.modalities
    ]
    with torch.no_grad():
        return _numbers(scorer.scalar(scorer.head(torch.cat(parts, dim=1))))


def _size(scorer: Scorer, modality: str) -> int:
    return sum(scorer.encoder.feature_sizes([modality]).values())


def _numbers(values: torch.Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy())
