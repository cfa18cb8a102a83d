"""Tiling of slides: tissue at one resolution, kept in a cache folder that a killed run can go on with.

A slide's folder bears its name and a digest of file and settings, and appears only once it is complete:

| file | holds |
| --- | --- |
| `tiles.parquet` | a row a tile: `x`, `y` (upper left, full-resolution pixels), `tissue` (share), `image` (encoded) |
| `slide.json` | resolution, size, counts and settings |
| `thumbnail.jpg` | the slide, kept tiles outlined |
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from foundation.data.problems import Problem, Problems, refuse
from foundation.data.processes import run_each
from foundation.files import replacing_folder, write_json
from foundation.modalities.pathology.slides import Slide, source_files
from foundation.modalities.pathology.tile_survey import TileSurvey, draw

TILES, FACTS, THUMBNAIL = "tiles.parquet", "slide.json", "thumbnail.jpg"
_FORMAT = 1  # counted up when the same settings would give other bytes
_AWAY = "copy the slide again, or leave it out"
_ROWS = 256  # tiles held at once
_SCHEMA = pa.schema([("x", pa.int64()), ("y", pa.int64()), ("tissue", pa.float32()), ("image", pa.binary())])


@dataclass(frozen=True)
class TileSettings:
    """How slides are cut.

    Args:
        mpp: of tiles, microns per pixel.
        size: side of a tile, pixels.
        tissue: least share of a tile that is tissue.
        max_tiles: kept a slide, drawn by seed; all if None.
        seed: of that draw.
        jpeg_quality: of the tiles as kept, 1 to 100; lossless PNG if None.
        slide_mpp: of slides at full resolution, where they do not say.
    """

    mpp: float = 0.5
    size: int = 256
    tissue: float = 0.3
    max_tiles: int | None = None
    seed: int = 0
    jpeg_quality: int | None = 90
    slide_mpp: float | None = None


@dataclass(frozen=True)
class TiledSlide:
    """One slide's tiles on disk."""

    patient: str
    path: Path
    folder: Path


def tile_slides(
    slides: list[tuple[str, Path]], cache: Path, settings: TileSettings, problems: Problems, workers: int = 1
) -> list[TiledSlide]:
    """Cuts slides in parallel processes; those already cut from the same file with the same settings are reused.

    Args:
        slides: patient and file.
        cache: holds a folder a slide; its content does not depend on `workers` or on earlier interruptions.
        settings: how slides are cut.
        problems: takes what is wrong with single slides; the others are cut all the same.
        workers: processes, a slide at a time each.

    Returns:
        The slides that were cut, in the order given.

    Raises:
        UserError: if processes die before they have begun with a slide.
    """
    cache.mkdir(parents=True, exist_ok=True)
    folders = {path: problems.attempt(_folder, path, cache, settings) for _, path in slides}
    wanted = {folder: path for path, folder in folders.items() if folder is not None and not folder.is_dir()}
    by_slide: dict[Path, list[Problem]] = {}
    with Progress(transient=True) as progress:
        task = progress.add_task("Tiling slides", total=len(wanted))
        for cut, problems_of in run_each(wanted, partial(_attempt, settings=settings), _crash, workers):
            by_slide[cut] = problems_of
            progress.advance(task)
    for cut in wanted:
        problems.listed += by_slide[cut]
    return [
        TiledSlide(patient, path, folder)
        for patient, path in slides
        if (folder := folders[path]) is not None and folder.is_dir()
    ]


def read_tiles(folder: Path) -> NDArray[np.uint8]:
    """A slide's tiles, RGB `[tiles, size, size, 3]`.

    Raises:
        DataError: if the folder is damaged.
    """
    path = folder / TILES
    try:
        encoded = pq.read_table(path, columns=["image"])["image"].to_pylist()
        return np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in encoded])
    except (OSError, pa.ArrowException, SyntaxError) as error:
        raise refuse(path, f"damaged tiles ({error})", f"remove {folder.name} and tile the slide again") from error


def tile_slide(path: Path, folder: Path, settings: TileSettings) -> None:
    """Cuts one slide into `folder`, which appears when it is complete.

    Raises:
        DataError: if the slide cannot be read at that resolution, is smaller than a tile, or shows no tissue.
    """
    with replacing_folder(folder) as temporary:
        with Slide(path, settings.slide_mpp) as slide:
            survey, enough, kept = choose_tiles(slide, settings)
            _write_tiles(temporary / TILES, slide, survey.corners[kept], survey.tissue[kept], settings)
            facts = {"slide": path.name, "slide_mpp": slide.mpp, "dimensions": slide.dimensions}
            facts |= {
                "mpp": slide.mpp * survey.tile / settings.size,
                "tiles": len(kept),
                "tiles_with_tissue": len(enough),
            }
        survey.outlined(kept).save(temporary / THUMBNAIL, quality=80)
        write_json(temporary / FACTS, facts | {"settings": asdict(settings)})


def choose_tiles(slide: Slide, settings: TileSettings) -> tuple[TileSurvey, NDArray[np.intp], NDArray[np.intp]]:
    """The survey of a slide, its tiles with tissue enough, and those of them that are kept.

    Raises:
        DataError: if the slide cannot be read at that resolution, is smaller than a tile, or shows no tissue.
    """
    survey = TileSurvey.of(slide, slide.scale(settings.mpp) * settings.size)
    enough = np.flatnonzero(survey.tissue >= max(settings.tissue, np.finfo(float).tiny))
    if not len(enough):
        raise refuse(
            slide.path,
            f"no tile with {settings.tissue:.0%} tissue; the fullest has {survey.tissue.max():.0%}",
            "look at the slide; lower tissue, or leave it out",
            field="tissue",
        )
    return survey, enough, draw(enough, settings.max_tiles, settings.seed, slide.path.name)


def _folder(path: Path, cache: Path, settings: TileSettings) -> Path:
    if not path.is_file():
        raise refuse(path, "no such file", "mend its name in the table, or remove the row")
    sources = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in source_files(path)]
    print_of = json.dumps([_FORMAT, sources, asdict(settings)], sort_keys=True).encode()
    return cache / f"{path.stem}-{hashlib.sha256(print_of).hexdigest()[:12]}"


def _write_tiles(
    path: Path, slide: Slide, corners: NDArray[np.int64], share: NDArray[np.float64], settings: TileSettings
) -> None:
    encoding: dict[str, Any] = {"format": "PNG"}
    if settings.jpeg_quality is not None:
        encoding = {"format": "JPEG", "quality": settings.jpeg_quality, "subsampling": 0}  # stain is in the colour
    size = (settings.size, settings.size)
    with pq.ParquetWriter(path, _SCHEMA, compression="none") as writer:
        for start in range(0, len(corners), _ROWS):
            part = slice(start, start + _ROWS)
            images = []
            for x, y in corners[part].tolist():
                stream = io.BytesIO()
                Image.fromarray(slide.read(x, y, size, settings.mpp)).save(stream, **encoding)
                images.append(stream.getvalue())
            columns = [corners[part, 0], corners[part, 1], share[part].astype(np.float32), images]
            writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=_SCHEMA))


def _attempt(folder: Path, path: Path, settings: TileSettings) -> list[Problem]:
    problems = Problems()  # exceptions would lose their parts between processes
    problems.attempt(tile_slide, path, folder, settings)
    return problems.listed


def _crash(path: Path) -> Problem:
    return refuse(path, "reading it ended the process: damaged, or too large for memory", _AWAY).problem
