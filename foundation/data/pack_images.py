"""Images of a hospital, of whatever kind, into the packed form."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.features import read_features
from foundation.data.image_files import read_image
from foundation.data.problems import Problems, refuse
from foundation.data.radiology import Kind, read_slices
from foundation.data.scan import SliceSettings
from foundation.data.site import IMAGES, Site
from foundation.data.store import ImageWriter
from foundation.data.tiling import THUMBNAIL, TiledSlide, TileSettings, read_tiles, tile_slides


@dataclass(frozen=True)
class Tiling:
    """Where and how fast slides are cut.

    Args:
        cache: folder of cut slides, from which a killed run goes on.
        workers: processes.
    """

    cache: Path
    workers: int = 1


def pack_images(site: Site, names: dict[str, str], output: Path, tiling: Tiling, problems: Problems) -> pd.DataFrame:
    """Writes a store a modality.

    Args:
        site: read and checked.
        names: patient → the id under which it is packed.
        output: of the hospital.
        tiling: of slides.
        problems: takes warnings.

    Returns:
        Indexed by packed id, for each modality: whether there is one, position of the first row, and how many.

    Raises:
        DataError: on the first image that cannot be used.
    """
    table = pd.DataFrame(index=pd.Index(sorted(names.values()), name="patient_id"))
    for modality in IMAGES:
        table[modality], table[f"{modality}_start"], table[f"{modality}_count"] = False, 0, 0
        if modality not in site.images:
            continue
        reader = _Reader(site, modality, names, output, tiling, problems)
        files = {names[str(patient)]: rows for patient, rows in site.images[modality].groupby(level=0)}
        with ImageWriter(output, modality) as writer:
            for patient in sorted(files):
                start, count = writer.add(reader.read(files[patient]))
                columns = [modality, f"{modality}_start", f"{modality}_count"]
                table.loc[patient, columns] = [True, start, count]
    return table


class _Reader:
    """Reads all files of one patient, and remembers what the files before them were like."""

    def __init__(
        self, site: Site, modality: str, names: dict[str, str], output: Path, tiling: Tiling, problems: Problems
    ) -> None:
        source = site.image_sources[modality]
        self.scans = modality == "radiology"
        self.problems = problems
        self.slices = SliceSettings(slices=source.slices, side=source.side, window=source.window)
        self.dim: int | None = None
        self.first: tuple[str, np.dtype[Any]] | None = None
        rows = site.images[modality]
        slides = [(str(patient), Path(row.path)) for patient, row in rows[rows["kind"] == "slides"].iterrows()]
        settings = TileSettings(
            source.mpp, source.tile, source.tissue, source.max_tiles, source.seed, slide_mpp=source.slide_mpp
        )
        self.tiled = {slide.path: slide for slide in _cut(slides, settings, tiling)}
        self._show(names, output / "thumbnails")

    def read(self, rows: pd.DataFrame) -> NDArray[Any]:
        """`[images, height, width, 3]` uint8, or `[tiles, dim]`, of all files of one patient."""
        parts = [self._file(Path(row.path), row.kind) for row in rows.itertuples()]
        for row, part in zip(rows.itertuples(), parts, strict=True):
            self._refuse_mixed(row.path, part, parts[0])
        return np.concatenate(parts)

    def _file(self, path: Path, kind: str) -> NDArray[Any]:
        if kind == "slides":
            return read_tiles(self.tiled[path].folder)
        if kind == "features":
            features, _ = read_features(path, self.dim)
            self.dim = features.shape[1]
            return features
        if self.scans and kind in get_args(Kind)[1:]:
            return read_slices(path, cast(Kind, kind), self.slices, self.problems)
        if kind != "images":
            raise refuse(path, f"{kind} cannot be read here", "declare its kind under sources", field="kind")
        return read_image(path)[None]

    def _refuse_mixed(self, path: str, part: NDArray[Any], first: NDArray[Any]) -> None:
        self.first = self.first or (path, part.dtype)
        if part.dtype != self.first[1]:
            found = f"{part.dtype} values, {self.first[0]} has {self.first[1]}"
            raise refuse(path, found, "give all of a hospital's files as images, or all as features of one type")
        if part.shape[1:] != first.shape[1:]:
            found = f"size {part.shape[1:3]}, the patient's first image has {first.shape[1:3]}"
            raise refuse(path, found, "crop a patient's images to one size")

    def _show(self, names: dict[str, str], folder: Path) -> None:
        """Thumbnails with the kept tiles outlined, under packed ids."""
        seen: dict[str, int] = {}
        for slide in self.tiled.values():
            patient = names[slide.patient]
            seen[patient] = seen.get(patient, 0) + 1
            folder.mkdir(exist_ok=True)
            shutil.copyfile(slide.folder / THUMBNAIL, folder / f"{patient}-{seen[patient]}.jpg")


def _cut(slides: list[tuple[str, Path]], settings: TileSettings, tiling: Tiling) -> list[TiledSlide]:
    if not slides:
        return []
    problems = Problems()
    tiled = tile_slides(slides, tiling.cache, settings, problems, tiling.workers)
    problems.refuse_first()
    return tiled
