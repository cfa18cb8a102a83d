"""Pathology from a hospital's files: slides cut into tiles, regions, spots with expression, or features of tiles.

Usual places: `pathology.csv` (or another form of table) listing `patient_id`, `file`; else `slides/`, `features/*.h5`.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from foundation.data.declaration import FILE, Declaration
from foundation.data.dictionary import DataDictionary
from foundation.data.image_files import read_image
from foundation.data.image_looks import Look, digest
from foundation.data.image_pairs import Prints
from foundation.data.image_preparation import ImagePreparation, Reader
from foundation.data.image_source import ImageSource
from foundation.data.preparation import Packing
from foundation.data.problems import Problems, refuse
from foundation.data.site import Site
from foundation.modalities.pathology.feature_files import read_features
from foundation.modalities.pathology.slides import Slide, source_files
from foundation.modalities.pathology.spot_source import SpotSettings
from foundation.modalities.pathology.storage import SPOTS, STORAGE
from foundation.modalities.pathology.tiling import THUMBNAIL, TiledSlide, TileSettings, read_tiles, tile_slides

if TYPE_CHECKING:
    from foundation.modalities.pathology.spots import Section

_SLIDES = "slides/**/*"
_FEATURES = "features/**/*.h5"
_TILES = 16  # read of each slide for a look


class TileSource(ImageSource):
    """Slides, regions or tile features.

    Args:
        kind: see `ImageSource`.
        mpp: of tiles cut from slides, microns per pixel.
        slide_mpp: of the slides themselves, where they do not say.
        tile: side of a tile in pixels.
        tissue: least share of a tile that is tissue.
        max_tiles: kept a slide, drawn by seed; all if None.
        seed: of that draw.
        spots: of spatial transcriptomics (kind `spots`).
    """

    kind: Literal["images", "slides", "features", "spots"] | None = None
    mpp: float = Field(0.5, gt=0)
    slide_mpp: float | None = Field(None, gt=0)
    tile: int = Field(256, ge=16)
    tissue: float = Field(0.3, ge=0, le=1)
    max_tiles: int | None = Field(None, ge=1)
    seed: int = 0
    spots: SpotSettings = SpotSettings()


class PathologyPreparation(ImagePreparation):
    """Tiles and features become rows; slides are cut in processes, into a cache that outlives a killed run."""

    storage = STORAGE
    source = TileSource
    kinds = ("images", "slides", "features", "spots")

    def usual_files(self, folder: Path) -> ImageSource | None:
        if any(folder.glob(_SLIDES)):
            return TileSource(files=_SLIDES, kind="slides")
        return TileSource(files=_FEATURES, kind="features") if any(folder.glob(_FEATURES)) else None

    def look(self, looks: list[Look], source: Any, dictionary: DataDictionary) -> Iterator[Look]:
        yield from super().look([look for look in looks if look.kind != "slides"], source, dictionary)
        slides = [look for look in looks if look.kind == "slides"]
        if slides:
            yield from _look_at_slides(slides, source)

    def open(self, look: Look, source: Any, dictionary: DataDictionary, problems: Problems) -> None:
        if look.kind == "features":
            features, _ = read_features(look.path)
            look.size, look.form = f"{features.shape[1]} values a tile", f"{features.dtype} features"
        elif look.kind == "spots":
            section = _section(look.path, source, _TILES, problems)
            section.expression(dictionary.genes, source.spots.counts)
            look.content = digest([look.path])
            look.show(section.tiles(source.tile))
        else:
            look.show(read_image(look.path, problems)[None])

    def reader(self, packing: Packing, source: Any) -> Reader:
        listed = packing.site.tables[STORAGE.name]
        slides = [(str(patient), Path(row.path)) for patient, row in listed[listed["kind"] == "slides"].iterrows()]
        tiled = {slide.path: slide for slide in _cut(slides, source, packing)}
        _show(tiled.values(), packing.names, packing.output / str(STORAGE.pictures))
        dim: int | None = None

        def read(path: Path, kind: str) -> NDArray[Any]:
            nonlocal dim
            if kind == "slides":
                return read_tiles(tiled[path].folder)
            if kind == "spots":
                section = _section(path, source, source.max_tiles, packing.problems)
                return section.tiles(source.tile)
            if kind == "images":
                return read_image(path, packing.problems)[None]
            features, _ = read_features(path, dim)
            dim = features.shape[1]
            return features

        return read

    def check(self, site: Site, declaration: Declaration, problems: Problems) -> None:
        listed = site.tables.get(STORAGE.name)
        if listed is None or not (listed["kind"] == "spots").any():
            return
        if not declaration.dictionary.genes:
            problems.error(FILE, "spots need a list of genes", "name them", field="dictionary.genes")
        mixed = listed.groupby(level=0)["kind"].nunique()
        for patient in mixed.index[mixed > 1]:
            finding, advice = "has spots and other pathology", "declare one of them"
            problems.error(site.files[STORAGE.name], f"patient {patient} {finding}", advice, field="kind")

    def files_of(self, path: Path, kind: str, source: Any) -> list[Path]:
        files = super().files_of(path, kind, source)
        if kind != "spots":
            return files
        from foundation.modalities.pathology.spot_files import files_beside

        return [*files, *files_beside(path, source.spots)]

    def pack(self, packing: Packing) -> pd.DataFrame:
        table, listed = super().pack(packing), packing.site.tables.get(STORAGE.name)
        if listed is None or not (listed["kind"] == "spots").any():
            return table
        source, genes = packing.site.sources[STORAGE.name], packing.dictionary.genes
        table[SPOTS], rows, count = -1, [], 0
        for patient in packing.order.intersection(listed.index.unique(), sort=False):
            files = listed.loc[[patient]]
            table.loc[patient, SPOTS] = count if (files["kind"] == "spots").all() else -1
            for path in files["path"][files["kind"] == "spots"]:
                section = _section(Path(path), source, source.max_tiles)
                rows.append(section.expression(genes, source.spots.counts))
                count += len(rows[-1])
        np.save(packing.output / f"{SPOTS}.npy", np.concatenate(rows))
        return table


def _section(path: Path, source: Any, most: int | None, problems: Problems | None = None) -> "Section":
    from foundation.modalities.pathology.spots import read_section  # whoever has no spots need not wait for it

    return read_section(path, source.spots, most, source.seed, problems)


PREPARATION = PathologyPreparation()


def tile_settings(source: TileSource, most: int | None) -> TileSettings:
    return TileSettings(source.mpp, source.tile, source.tissue, most, source.seed, slide_mpp=source.slide_mpp)


def _cut(slides: list[tuple[str, Path]], source: TileSource, packing: Packing) -> list[TiledSlide]:
    if not slides:
        return []
    problems = Problems()
    tiled = tile_slides(slides, packing.cache, tile_settings(source, source.max_tiles), problems, packing.workers)
    problems.refuse_first()
    return tiled


def _show(tiled: Any, names: dict[str, str], folder: Path) -> None:
    """Thumbnails with the kept tiles outlined, under packed ids."""
    seen: dict[str, int] = {}
    for slide in tiled:
        patient = names[slide.patient]
        seen[patient] = seen.get(patient, 0) + 1
        folder.mkdir(exist_ok=True)
        shutil.copyfile(slide.folder / THUMBNAIL, folder / f"{patient}-{seen[patient]}.jpg")


def _look_at_slides(slides: list[Look], source: TileSource) -> list[Look]:
    """Some tiles of each are cut as packing cuts them, in processes that a crash may end."""
    settings = tile_settings(source, min(_TILES, source.max_tiles or _TILES))
    by_path = {str(look.path): look for look in slides}
    problems = Problems()
    with TemporaryDirectory(prefix="slides.") as scratch:
        wanted = [(look.patient, look.path) for look in by_path.values()]
        cut = tile_slides(wanted, Path(scratch), settings, problems, os.cpu_count() or 1)
        seen = {str(tiled.path): Prints.of(read_image(tiled.folder / THUMBNAIL)[None]) for tiled in cut}
    for problem in problems.listed:
        by_path[problem.file].problems.append(problem)
    for look in slides:
        if str(look.path) in seen:
            look.size, look.prints = f"{source.tile} by {source.tile} pixels", seen[str(look.path)]
            _fill_slide(look, source)
        elif look is not by_path[str(look.path)]:
            look.problems = by_path[str(look.path)].problems
    return slides


def _fill_slide(look: Look, source: TileSource) -> None:
    """What is safe to ask of a slide that was read once already."""
    problems = Problems()
    problems.attempt(_refuse_cut_off, look.path)
    look.problems = problems.listed
    look.content = digest(source_files(look.path))
    with Slide(look.path, source.slide_mpp) as slide:
        look.carries, look.parts = slide.unread, "pictures inside"


def _refuse_cut_off(path: Path) -> None:
    """OpenSlide notices only when it reads there, and only some tiles were read.

    Raises:
        DataError: if a TIFF lays pixels beyond its end.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = [(page.dataoffsets, page.databytecounts) for page in file.pages]
    except tifffile.TiffFileError:
        return  # no TIFF: DICOM, MIRAX
    size = path.stat().st_size
    end = max((start + count for page in pages for start, count in zip(*page, strict=False)), default=0)
    if end > size:
        raise refuse(path, f"cut off: {size} bytes, its last pixels end at {end}", "copy the slide again")
