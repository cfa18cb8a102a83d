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
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from foundation.data.problems import Problem, Problems, refuse
from foundation.errors import UserError
from foundation.files import replacing_folder, unfinished, write_json
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
        for cut, problems_of in _cut_all(wanted, settings, workers):
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
            tile = slide.scale(settings.mpp) * settings.size
            survey = TileSurvey.of(slide, tile)
            enough = np.flatnonzero(survey.tissue >= max(settings.tissue, np.finfo(float).tiny))
            if not len(enough):
                raise refuse(
                    path,
                    f"no tile with {settings.tissue:.0%} tissue; the fullest has {survey.tissue.max():.0%}",
                    "look at the slide; lower tissue, or leave it out",
                    field="tissue",
                )
            kept = draw(enough, settings.max_tiles, settings.seed, path.name)
            _write_tiles(temporary / TILES, slide, survey.corners[kept], survey.tissue[kept], settings)
            facts = {"slide": path.name, "slide_mpp": slide.mpp, "dimensions": slide.dimensions}
            facts |= {"mpp": slide.mpp * tile / settings.size, "tiles": len(kept), "tiles_with_tissue": len(enough)}
        survey.outlined(kept).save(temporary / THUMBNAIL, quality=80)
        write_json(temporary / FACTS, facts | {"settings": asdict(settings)})


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


def _attempt(path: Path, folder: Path, settings: TileSettings) -> list[Problem]:
    problems = Problems()  # exceptions would lose their parts between processes
    problems.attempt(tile_slide, path, folder, settings)
    return problems.listed


def _cut_all(slides: dict[Path, Path], settings: TileSettings, workers: int) -> Iterator[tuple[Path, list[Problem]]]:
    """Every slide's problems, by folder, also where a library crashes on a damaged file and takes its process along."""
    left = dict(slides)
    while left:
        before = len(left)
        for folder, problems in _cut(left, settings, workers):
            yield folder, problems
            del left[folder]
        for folder in [folder for folder in left if unfinished(folder).is_dir()]:  # begun when a process died
            path = left.pop(folder)
            crash = refuse(path, "reading it ended the process: damaged, or too large for memory", _AWAY).problem
            yield folder, dict(_cut({folder: path}, settings, 1)).get(folder, [crash])
            shutil.rmtree(unfinished(folder), ignore_errors=True)
        if len(left) == before:
            raise UserError("tiling: processes die before they begin; lower workers, or free some memory")


def _cut(slides: dict[Path, Path], settings: TileSettings, workers: int) -> Iterator[tuple[Path, list[Problem]]]:
    """The problems of those slides that did not go down with a process."""
    # Fresh processes: a copy of one that has threads (torch, the progress bar) can hang.
    context = multiprocessing.get_context("spawn")
    workers = max(min(workers, len(slides)), 1)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        futures = {pool.submit(_attempt, path, folder, settings): folder for folder, path in slides.items()}
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()


def _end_with_parent() -> None:
    """A killed parent's workers would otherwise wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
