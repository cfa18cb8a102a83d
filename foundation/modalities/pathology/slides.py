"""Whole-slide images, read at a wanted resolution.

One reader: OpenSlide (Goode et al. 2013; LGPL-2.1, used as the shared library that its wheels bring), which knows
Aperio SVS, Hamamatsu NDPI, Leica SCN, MIRAX, Philips, Trestle, Ventana, DICOM and generic tiled TIFF.
"""

import math
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from foundation.data.problems import DataError, refuse

MPP_RANGE = (0.05, 50.0)  # beyond it a resolution is a printer's or a screen's, not a scanner's
_AS_IT_IS = 0.01  # a level within 1 % of the wanted resolution is taken without resampling
_SHARPER = 1.1  # pixels may be drawn at most this much finer than they were scanned
_KERNEL = 3  # half width of Lanczos, in pixels of the result
_CONVERT = "copy it again, or write it as a tiled pyramid (vips tiffsave IN OUT.tif --tile --pyramid)"
_BLOCK = 4096  # side of what is decoded at once for a thumbnail, pixels of the level read


class Slide(AbstractContextManager["Slide"]):
    """One slide, open for reading; a context manager.

    Only the scan itself is read. Label, macro and thumbnail pictures inside the file, which can show a patient's name,
    are never opened.

    Args:
        path: of the slide; of any one file of it for DICOM.
        declared_mpp: microns per pixel of the full resolution, for a slide that does not say its own.

    Attributes:
        dimensions: width and height at full resolution, pixels.
        mpp: microns per pixel at full resolution.
        unread: names of the label, macro and other pictures inside the file, for the report.

    Raises:
        DataError: if the file is missing, no slide, or nobody says its resolution.
    """

    def __init__(self, path: Path, declared_mpp: float | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise refuse(path, "no such file", "mend its name in the table, or remove the row")
        if not path.stat().st_size:
            raise refuse(path, "empty file", "copy the slide again")
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise refuse(path, "no slide that OpenSlide reads, or cut off", _CONVERT) from error
        except openslide.OpenSlideError as error:
            raise refuse(path, "damaged slide", "copy it again from the scanner or archive") from error
        try:
            self.dimensions: tuple[int, int] = self._slide.dimensions
            self.mpp = self._mpp(declared_mpp)
            self.unread = sorted(self._slide.associated_images)
            self._refuse_annotated()
        except DataError:
            self.close()
            raise

    def _mpp(self, declared: float | None) -> float:
        properties = self._slide.properties
        steps = [properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)]
        x, y = (float(value) if value else math.nan for value in steps)
        low, high = MPP_RANGE
        if low <= x <= high and low <= y <= high:
            if abs(x / y - 1) > 0.05:
                raise refuse(
                    self.path, "pixels are not square", "export the slide again", field="mpp", value=f"{x:g} by {y:g}"
                )
            return (x + y) / 2
        if declared is None:
            says = f"says {x:g} microns per pixel, which no scanner has" if math.isfinite(x) else "does not say"
            raise refuse(
                self.path, f"the slide {says}", "declare slide_mpp, microns per pixel at full resolution", field="mpp"
            )
        if not low <= declared <= high:
            raise refuse(self.path, f"declared outside {low:g} to {high:g}", "mend slide_mpp", "mpp", value=declared)
        return declared

    def _refuse_annotated(self) -> None:
        if self._slide.properties.get("dicom.BurnedInAnnotation", "").upper() == "YES":
            raise refuse(
                self.path, "text is burned into the pixels", "export it without annotations", field="BurnedInAnnotation"
            )

    def scale(self, mpp: float) -> float:
        """Full-resolution pixels a pixel at `mpp`; that of a pyramid level where one is within 1 % of it.

        Raises:
            DataError: if the slide was scanned more than 10 % coarser than `mpp`.
        """
        wanted = mpp / self.mpp
        if wanted * _SHARPER < 1:
            raise refuse(
                self.path,
                f"scanned at {self.mpp:.4g} microns per pixel, coarser than the {mpp:.4g} wanted",
                "declare a coarser mpp, or leave the slide out",
                field="mpp",
            )
        near = min(self._slide.level_downsamples, key=lambda downsample: abs(downsample / wanted - 1))
        return near if abs(near / wanted - 1) <= _AS_IT_IS else wanted

    def read(self, x: int, y: int, size: tuple[int, int], mpp: float) -> NDArray[np.uint8]:
        """A region, from the coarsest pyramid level that is fine enough, reduced by Lanczos resampling.

        Pixels around the region take part in the resampling, so that neighbouring regions fit without a seam.

        Args:
            x: of the left edge, full-resolution pixels.
            y: of the upper edge, full-resolution pixels.
            size: width and height of the result, pixels.
            mpp: of the result, microns per pixel.

        Returns:
            RGB `[height, width, 3]` uint8 as scanned (no colour profile applied); what was never scanned is white.

        Raises:
            DataError: if the file is damaged there, or the slide is too coarse.
        """
        scale = self.scale(mpp)
        level = self._slide.get_best_level_for_downsample(scale * (1 + 1e-6))
        downsample = self._slide.level_downsamples[level]
        ratio = scale / downsample
        if ratio == 1:
            return np.asarray(self._region((x, y), level, size))
        margin = math.ceil(_KERNEL * max(ratio, 1)) + 1
        starts = [side / downsample for side in (x, y)]
        corner = [max(math.floor(start) - margin, 0) for start in starts]
        near = [start - edge for start, edge in zip(starts, corner, strict=True)]
        far = [edge + pixels * ratio for edge, pixels in zip(near, size, strict=True)]
        # At a slide's far edge nothing lies beyond: the kernel ends there as at any picture's border.
        extent = [
            max(math.ceil(end), min(math.ceil(end) + margin, whole - edge))
            for end, whole, edge in zip(far, self._slide.level_dimensions[level], corner, strict=True)
        ]
        origin = (round(corner[0] * downsample), round(corner[1] * downsample))
        region = self._region(origin, level, (extent[0], extent[1]))
        return np.asarray(region.resize(size, Image.Resampling.LANCZOS, box=(near[0], near[1], far[0], far[1])))

    def _region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        try:
            region = self._slide.read_region(origin, level, size)
        except openslide.OpenSlideError as error:
            raise refuse(
                self.path, f"damaged near pixel {origin}", "copy it again from the scanner or archive"
            ) from error
        plain = Image.new("RGB", region.size, "white")
        plain.paste(region, mask=region.getchannel("A"))
        return plain

    def thumbnail(self, mpp: float) -> NDArray[np.uint8]:
        """The whole scan at `mpp`, RGB `[height, width, 3]` uint8, decoded block by block."""
        scale = self.scale(mpp)
        width, height = (max(math.floor(side / scale), 1) for side in self.dimensions)
        level = self._slide.get_best_level_for_downsample(scale * (1 + 1e-6))
        step = max(math.floor(_BLOCK * self._slide.level_downsamples[level] / scale), 1)
        picture = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, step):
            for left in range(0, width, step):
                size = (min(step, width - left), min(step, height - top))
                block = self.read(round(left * scale), round(top * scale), size, mpp)
                picture[top : top + size[1], left : left + size[0]] = block
        return picture

    def close(self) -> None:
        """Lets the file go."""
        self._slide.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def source_files(path: Path) -> list[Path]:
    """The files that make up a slide: itself, MIRAX's folder beside it, or its neighbours for DICOM."""
    if path.suffix.lower() == ".mrxs":
        return [path, *sorted(file for file in path.with_suffix("").glob("*") if file.is_file())]
    if path.suffix.lower() in (".dcm", ""):
        return sorted(file for file in path.parent.iterdir() if file.is_file())
    return [path]
