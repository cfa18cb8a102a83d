"""Spots of a section: a tile around each, and its expression within the section.

Expression is log2 of counts in ten thousand plus one, standardised gene by gene over the spots of its section: what is
left is where in a tissue a gene is expressed, and nothing of batch, depth or patient.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image

from foundation.data.genes import GeneVocabulary
from foundation.data.image_files import read_image
from foundation.data.problems import Problems, refuse
from foundation.modalities.pathology.slides import Slide
from foundation.modalities.pathology.spot_files import SpotFile, read_spot_file
from foundation.modalities.pathology.spot_source import SpotSettings
from foundation.modalities.pathology.tile_survey import draw

_FARTHEST = 6.0  # standard deviations
_DEPTH = 1e4


@dataclass(frozen=True)
class Section:
    """One section's spots that are kept.

    Attributes:
        path: of the file.
        file: as read.
        kept: places of the spots that have counts and lie within the picture whole, at most as many as wanted.
        side: of the square around each, full-resolution pixels.
        picture: file of the full-resolution picture; None where the file's own is taken.
    """

    path: Path
    file: SpotFile
    kept: NDArray[np.intp]
    side: float
    picture: Path | None

    def tiles(self, size: int) -> NDArray[np.uint8]:
        """RGB `[spots, size, size, 3]`, a square around each spot."""
        corners = self.file.places[self.kept] - self.side / 2
        if self.picture is not None and openslide.OpenSlide.detect_format(self.picture) is not None:
            with Slide(self.picture, 1.0) as slide:
                mpp = slide.mpp * self.side / size
                return np.stack([slide.read(round(x), round(y), (size, size), mpp) for x, y in corners])
        pixels, scale = _pixels(self)
        image = Image.fromarray(pixels)
        boxes = [(x * scale, y * scale, (x + self.side) * scale, (y + self.side) * scale) for x, y in corners]
        return np.stack([np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box)) for box in boxes])

    def expression(self, genes: Sequence[str], counts: bool) -> NDArray[np.float32]:
        """Standardised within the section, `[spots, genes]`; NaN where a gene was not measured, or never varies.

        Args:
            genes: approved symbols.
            counts: whether values are counts.

        Raises:
            DataError: if none of the genes was measured.
        """
        resolved = GeneVocabulary.shipped().resolve(self.file.names).symbol
        place = {gene: number for number, gene in enumerate(genes)}
        columns = [
            (number, place[resolved[name]])
            for number, name in enumerate(self.file.names)
            if resolved.get(name) in place
        ]
        if not columns:
            raise refuse(self.path, "none of the dictionary's genes was measured", "see dictionary.genes", "genes")
        values = scipy.sparse.csr_matrix(self.file.counts[self.kept], dtype=np.float64)
        if counts:
            values = scipy.sparse.diags(_DEPTH / np.asarray(values.sum(axis=1)).ravel()) @ values
        sources, targets = zip(*columns, strict=True)
        gather = scipy.sparse.csr_matrix((np.ones(len(columns)), (sources, targets)), (values.shape[1], len(genes)))
        table = np.asarray((values @ gather).todense())
        table = np.log2(1 + table) if counts else table
        spread = table.std(axis=0)
        varies = np.isin(np.arange(len(genes)), targets) & (spread > 0)
        standard = (table - table.mean(axis=0)) / np.where(varies, spread, 1)
        return np.where(varies, standard.clip(-_FARTHEST, _FARTHEST), np.nan).astype(np.float32)


def read_section(
    path: Path, settings: SpotSettings, most: int | None, seed: int, problems: Problems | None = None
) -> Section:
    """A section's spots.

    Args:
        path: of its file.
        settings: declared.
        most: spots kept, drawn by seed; all if None.
        seed: of that draw.
        problems: takes how many are left out.

    Raises:
        DataError: if the file, or the picture, cannot be used.
    """
    file = read_spot_file(path, settings)
    if not len(file.places):
        raise refuse(path, "no spot under tissue", "leave the sample out")
    values = file.counts.data
    if settings.counts and ((values < 0) | (values != np.floor(values))).any():
        raise refuse(path, "values are no counts", "say spots: {counts: false} if they are normalised", "counts")
    diameter = settings.diameter or file.diameter
    if diameter is None:
        raise refuse(path, "nobody says how large a spot is", "say spots: {diameter: PIXELS}", field="diameter")
    side, picture = diameter * settings.around, _picture(path, settings)
    if picture is None and file.picture is None:
        raise refuse(path, "no picture of the section", "say spots: {picture: FILE}", field="picture")
    width, height = _extent(file, picture)
    low, high = file.places - side / 2, file.places + side / 2
    inside = np.asarray((low >= 0).all(axis=1) & (high <= [width, height]).all(axis=1))
    counted = (np.asarray(file.counts.sum(axis=1)).ravel() > 0) | (not settings.counts)
    if problems is not None:
        problems.tell(path, "spots at the picture's edge, left out", int((~inside).sum()))
        problems.tell(path, "spots without counts, left out", int((inside & ~counted).sum()))
    usable = np.flatnonzero(inside & counted)
    if not len(usable):
        finding = f"no spot lies within the picture of {width:.0f} by {height:.0f} pixels whole"
        raise refuse(path, finding, "see whether places are full-resolution pixels (x, y), or lower around", "spatial")
    return Section(path, file, draw(usable, most, seed, path.name), side, picture)


def _picture(path: Path, settings: SpotSettings) -> Path | None:
    if settings.picture is None:
        return None
    pattern = settings.picture.replace("{stem}", path.name.partition(".")[0])
    files = sorted(path.parent.glob(pattern))
    if len(files) != 1:
        raise refuse(path, f"{len(files)} pictures are called {pattern}", "name one a section", field="picture")
    return files[0]


def _extent(file: SpotFile, picture: Path | None) -> tuple[float, float]:
    """Width and height of the picture, full-resolution pixels."""
    if picture is None:
        assert file.picture is not None
        return file.picture.shape[1] / file.scale, file.picture.shape[0] / file.scale
    with ExitStack() as stack:
        if openslide.OpenSlide.detect_format(picture) is not None:
            return stack.enter_context(Slide(picture, 1.0)).dimensions
        height, width = read_image(picture).shape[:2]
        return width, height


def _pixels(section: Section) -> tuple[NDArray[np.uint8], float]:
    """The picture, and its pixels a full-resolution pixel."""
    if section.picture is not None:
        return read_image(section.picture), 1.0
    assert section.file.picture is not None
    return section.file.picture, section.file.scale
