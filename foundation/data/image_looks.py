"""One look at an image file of any kind: whether it can be read, what it carries, and what it can be known again by."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray

from foundation.data.declaration import ImageKind, ImageSource
from foundation.data.dicom_tags import identifying_tags
from foundation.data.features import read_features
from foundation.data.image_files import read_image
from foundation.data.image_pairs import Prints
from foundation.data.problems import Problem, Problems, refuse
from foundation.data.radiology import read_slices
from foundation.data.scan import SliceSettings
from foundation.data.slides import Slide, source_files
from foundation.data.tiling import THUMBNAIL, TileSettings, tile_slides

_TILES = 16  # read of each slide


@dataclass
class Look:
    """One file, or one folder of a DICOM series, as it was found.

    Attributes:
        hospital: whose it is.
        patient: likewise.
        path: of it.
        kind: as the listing says.
        content: digest of its bytes; empty where it could not be read.
        prints: of its pictures; of a slide those of its thumbnail, of features none.
        size: of each picture as packed, or the dimension of features; as text, for messages.
        form: what packing makes of it, which is one thing for all of a hospital's files.
        carries: names of tags and pictures inside that can show who the patient is.
        problems: with reading it.
    """

    hospital: str
    patient: str
    path: Path
    kind: ImageKind
    content: str = ""
    prints: Prints = field(default_factory=Prints.none)
    size: str = ""
    form: str = "pictures"
    carries: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def look_at_files(files: list[Look], modality: str, source: ImageSource) -> Iterator[Look]:
    """Fills in what the files (of any kind but slides) are, in parallel threads, in the order given.

    Args:
        files: still without findings.
        modality: `pathology`, whose pictures are read as they are, or `radiology`, whose become slices.
        source: how they are to be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda look: _look(look, modality, source), files)


def look_at_slides(slides: list[Look], source: ImageSource) -> list[Look]:
    """The same for slides: some tiles of each are cut as packing cuts them, in processes that a crash may end."""
    few = min(_TILES, source.max_tiles or _TILES)
    settings = TileSettings(source.mpp, source.tile, source.tissue, few, slide_mpp=source.slide_mpp)
    by_path = {str(look.path): look for look in slides}
    problems = Problems()
    with TemporaryDirectory(prefix="slides.") as scratch:
        wanted = [(look.patient, look.path) for look in by_path.values()]
        cut = tile_slides(wanted, Path(scratch), settings, problems, os.cpu_count() or 1)
        seen = {str(tiled.path): Prints.of(read_image(tiled.folder / THUMBNAIL)[None]) for tiled in cut}
    for problem in problems.found:
        by_path[problem.file].problems.append(problem)
    for look in slides:
        if str(look.path) in seen:
            look.size, look.prints = f"{source.tile} by {source.tile} pixels", seen[str(look.path)]
            _fill_slide(look, source)
        elif look is not by_path[str(look.path)]:
            look.problems = by_path[str(look.path)].problems
    return slides


def _look(look: Look, modality: str, source: ImageSource) -> Look:
    problems = Problems()
    problems.attempt(_fill, look, modality, source, problems)
    look.problems = problems.found
    return look


def _fill(look: Look, modality: str, source: ImageSource, problems: Problems) -> None:
    if look.kind == "features":
        features, _ = read_features(look.path)
        look.size, look.form = f"{features.shape[1]} values a tile", f"{features.dtype} features"
    elif look.kind == "images":
        _fill_pictures(look, read_image(look.path)[None])
    elif modality == "pathology" or look.kind == "slides":
        advice = "declare it under the other one, or name its kind under sources in cohort.yaml"
        raise refuse(look.path, f"no kind of file that {modality} has", advice, field="kind", value=look.kind)
    else:
        settings = SliceSettings(slices=source.slices, side=source.side, window=source.window)
        _fill_pictures(look, read_slices(look.path, look.kind, settings, problems))
    files = _files(look.path)
    look.content = _digest(files)
    if look.kind == "dicom":
        look.carries = identifying_tags(pydicom.dcmread(files[0], stop_before_pixels=True))


def _fill_pictures(look: Look, pictures: NDArray[np.uint8]) -> None:
    look.size = f"{pictures.shape[1]} by {pictures.shape[2]} pixels"
    look.prints = Prints.of(pictures)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _digest(files: list[Path]) -> str:
    """Of the bytes of all files, whatever they are called; each is read in pieces."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _fill_slide(look: Look, source: ImageSource) -> None:
    """What is safe to ask of a slide that was read once already."""
    problems = Problems()
    problems.attempt(_refuse_cut_off, look.path)
    look.problems = problems.found
    look.content = _digest(source_files(look.path))
    with Slide(look.path, source.slide_mpp) as slide:
        look.carries = slide.unread


def _refuse_cut_off(path: Path) -> None:
    """OpenSlide notices only when it reads there, and only some tiles were read.

    Raises:
        DataError: if a TIFF lays pixels beyond its end.
    """
    try:
        with tifffile.TiffFile(path) as file:
            pages = [(page.dataoffsets, page.databytecounts) for page in file.pages]
    except tifffile.TiffFileError:
        return  # no TIFF: DICOM, MIRAX
    size = path.stat().st_size
    end = max((start + count for page in pages for start, count in zip(*page, strict=False)), default=0)
    if end > size:
        raise refuse(path, f"cut off: {size} bytes, its last pixels end at {end}", "copy the slide again")
