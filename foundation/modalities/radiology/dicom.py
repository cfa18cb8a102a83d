"""DICOM series read as scans: sorted in space, rescaled, with nothing that identifies anybody.

No message quotes a value from a file or a library's own words, which may hold one.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from foundation.data.problems import DataError, Problems, refuse
from foundation.modalities.radiology.dicom_decoder import DECODER_DEPENDENCIES, PLUGIN
from foundation.modalities.radiology.dicom_order import DicomSlice, in_order
from foundation.modalities.radiology.dicom_tags import refuse_burned_in
from foundation.modalities.radiology.hounsfield import Rescale, from_tags
from foundation.modalities.radiology.scan import CT_WINDOW, Scan, SliceSettings

config.settings.reading_validation_mode = config.IGNORE  # its warnings quote values, a name as soon as any other

_WITHOUT_PIXELS = {"AU", "DOC", "ECG", "FID", "HD", "KO", "PR", "REG", "RTPLAN", "RTRECORD", "RTSTRUCT", "RWV", "SR"}
_NO_SCAN = {*_WITHOUT_PIXELS, "RTDOSE", "SEG"}
_SECONDARY = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6.1")
_DAMAGE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_READ = (
    "BurnedInAnnotation",
    "ImageType",
    "Modality",
    "PatientID",
    "PhotometricInterpretation",
    "SOPClassUID",
    "SeriesInstanceUID",
)
_EXPORT = "export the series again from the archive"


@dataclass(frozen=True)
class Series:
    """One series, as it lies in space.

    Attributes:
        first: one of its files, for the tags that all of them share.
        slices: in order.
        voxels: `[slices, rows, columns]` float32 (Hounsfield units for CT), or `[slices, rows, columns, 3]` uint8.
        spacing: millimetres from row to row and from column to column; None where unknown.
    """

    first: Dataset
    slices: list[DicomSlice]
    voxels: NDArray[Any]
    spacing: tuple[float, float] | None

    @property
    def computed_tomography(self) -> bool:
        """Whether voxels are Hounsfield units."""
        return self.first.get("Modality") == "CT" and self.voxels.ndim == 3

    @property
    def inverted(self) -> bool:
        """Whether high values are dark; Hounsfield units are densities, whatever a screen is told to show."""
        shown = self.first.get("PhotometricInterpretation") == "MONOCHROME1"
        return bool(shown and not self.computed_tomography)


def read_series(source: Path | list[Path], settings: SliceSettings, problems: Problems) -> Scan:
    """One series as a scan; see `open_series`.

    Raises:
        DataError: if it cannot be read.
    """
    return to_scan(open_series(source, problems, settings.rescale), settings)


def to_scan(series: Series, settings: SliceSettings) -> Scan:
    """What of a series becomes slices, and how bright."""
    window = (settings.window or CT_WINDOW) if series.computed_tomography else None
    return Scan(series.voxels, series.spacing or (1.0, 1.0), window, series.inverted)


def open_series(source: Path | list[Path], problems: Problems, rescale: Rescale | None = None) -> Series:
    """One series, from a folder (searched to its leaves), a list of files or a single file.

    Slices are sorted along the normal of their plane by ImagePositionPatient, else by InstanceNumber. Files that hold
    no scan (reports, segmentations, localizers) are left out with a warning.

    Args:
        source: of the series.
        problems: takes warnings: missing slices, files left out, pictures that may show text.
        rescale: declared slope and intercept of CT whose own are missing or cannot be.

    Raises:
        DataError: if a file is damaged, undecodable or burned in, if the files do not make up one series, or a CT's
            values are no Hounsfield units.
    """
    files = _files(source)
    folder = source if isinstance(source, Path) else files[0].parent
    datasets = [(path, _read(path)) for path in files]
    scans = [(path, dataset) for path, dataset in datasets if _is_scan(path, dataset)]
    if not scans:
        raise refuse(folder, f"no scan among {len(files)} DICOM files", "give the folder of one series of images")
    for path in sorted({path for path, _ in datasets} - {path for path, _ in scans}):
        problems.warn(path, "holds no scan and is left out", "take it out of the folder", field="Modality")
    _refuse_several(folder, scans)
    for path, dataset in scans:
        refuse_burned_in(path, dataset)
    first = scans[0][1]
    if first.get("SOPClassUID") in _SECONDARY and "BurnedInAnnotation" not in first:
        problems.warn(scans[0][0], "may show text", "look whether a name is in the picture", field="BurnedInAnnotation")
    slices = [part for path, dataset in scans for part in _slices(path, dataset)]
    slices = in_order(folder, slices, problems)
    for part in slices:
        if part.pixels.shape != slices[0].pixels.shape or part.pixels.dtype != slices[0].pixels.dtype:
            size, other = (" by ".join(map(str, each.pixels.shape)) for each in (part, slices[0]))
            raise refuse(part.path, f"{size} pixels, others have {other}", _EXPORT, field="Rows")
    voxels = np.stack([part.pixels for part in slices])
    if not np.isfinite(voxels).all() or voxels.min() == voxels.max():
        raise refuse(folder, "all pixels have one value, or are not finite", _EXPORT, field="PixelData")
    if first.get("Modality") == "CT" and voxels.ndim == 3:
        voxels = from_tags(folder, voxels, [part.intercept for part in slices], rescale)
    with _careful(scans[0][0], "PixelSpacing"):
        measures = _functional(first, 0, "PixelMeasuresSequence")
        steps = measures.get("PixelSpacing") or measures.get("ImagerPixelSpacing")
        spacing = None if steps is None else (float(steps[0]), float(steps[1]))
        if spacing is not None and not all(0 < step < 1000 for step in spacing):
            raise ValueError
    return Series(first, slices, voxels, spacing)


def _files(source: Path | list[Path]) -> list[Path]:
    if isinstance(source, Path) and not source.is_dir():
        source = [source]
    if isinstance(source, Path):
        files = sorted(path for path in source.rglob("*") if path.is_file())
        files = [path for path in files if not path.name.startswith(".") and path.name.upper() != "DICOMDIR"]
        if not files:
            raise refuse(source, "no file in the folder", "give the folder of one series")
        return files
    for path in source:
        if not path.is_file():
            raise refuse(path, "no such file", "mend its name in the table, or remove the row")
    return source


def _read(path: Path) -> Dataset:
    if not path.stat().st_size:
        raise refuse(path, "empty file", _EXPORT)
    with _careful(path, "file"):
        try:
            dataset = pydicom.dcmread(path)
        except InvalidDicomError:
            raise refuse(
                path, "no DICOM file (no DICM after 128 bytes)", "take it out of the folder, or export it again"
            ) from None
        for name in _READ:  # values are parsed when they are first asked for
            dataset.get(name)
        return dataset


@contextmanager
def _careful(path: Path, field: str, finding: str = "damaged or malformed", advice: str = _EXPORT) -> Iterator[None]:
    """Turns whatever a library says of a damaged file into a line that quotes nothing of it."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE:
        raise refuse(path, finding, advice, field=field) from None


def _is_scan(path: Path, dataset: Dataset) -> bool:
    with _careful(path, "Modality"):
        pixels = any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
        if not pixels and dataset.get("Modality") not in _WITHOUT_PIXELS:
            raise refuse(path, "no pixels: cut off, or no image", _EXPORT, field="PixelData")
        kind = [str(part) for part in np.atleast_1d(dataset.get("ImageType", []))]
        return pixels and dataset.get("Modality") not in _NO_SCAN and "LOCALIZER" not in kind


def _refuse_several(folder: Path, scans: list[tuple[Path, Dataset]]) -> None:
    for field, what in (("PatientID", "patients"), ("SeriesInstanceUID", "series")):
        count = len({str(dataset.get(field, "")) for _, dataset in scans})
        if count > 1:
            raise refuse(
                folder, f"files of {count} {what} lie together", f"give each of the {what} its own folder", field=field
            )


def _functional(dataset: Dataset, frame: int, sequence: str) -> Dataset:
    """Where a frame's attribute stands: in enhanced multi-frame files in functional groups, else in the file itself."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            item: Dataset = items[index][sequence][0]
            return item
    return dataset


def _slices(path: Path, dataset: Dataset) -> list[DicomSlice]:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise refuse(path, "does not say how its pixels are encoded", _EXPORT, field="TransferSyntaxUID")
    if not isinstance(syntax, UID) or not syntax.is_transfer_syntax:
        raise refuse(path, "names no way of encoding", _EXPORT, field="TransferSyntaxUID")
    finding, advice = "pixels cut off or damaged", _EXPORT
    if syntax.is_compressed:
        finding = f"pixels cut off or cannot be decoded, {syntax.name}"
        advice = "write it uncompressed (gdcmconv --raw IN OUT) or export it again"
    with _careful(path, "PixelData", finding, advice):
        pixels = pixel_array(dataset, decoding_plugin=PLUGIN if syntax in DECODER_DEPENDENCIES else "")
    with _careful(path, "PixelData"):
        colour = dataset.get("SamplesPerPixel", 1) > 1
        frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            frames, colour = apply_color_lut(frames, dataset), True
            bits = frames.dtype.itemsize * 8
        else:
            bits = dataset.BitsStored if "BitsStored" in dataset else 8
    return [_slice(path, dataset, index, frame, bits if colour else None) for index, frame in enumerate(frames)]


def _slice(path: Path, dataset: Dataset, index: int, frame: NDArray[Any], colour_bits: int | None) -> DicomSlice:
    intercept = None
    with _careful(path, "RescaleSlope"):
        if colour_bits is not None:
            pixels = np.round(frame * (255 / (2**colour_bits - 1))).astype(np.uint8)
        else:
            rescale = _functional(dataset, index, "PixelValueTransformationSequence")
            if rescale.get("RescaleSlope") == 0:
                raise ValueError
            pixels = apply_modality_lut(frame, rescale).astype(np.float32)
            if rescale.get("ModalityLUTSequence"):
                intercept = math.nan
            elif "RescaleSlope" in rescale and "RescaleIntercept" in rescale:
                intercept = float(rescale.RescaleIntercept)
    with _careful(path, "ImagePositionPatient"):
        position = _vector(_functional(dataset, index, "PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = _vector(_functional(dataset, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    with _careful(path, "InstanceNumber"):
        number = dataset.get("InstanceNumber")
        return DicomSlice(path, pixels, position, orientation, None if number is None else int(number), intercept)


def _vector(dataset: Dataset, name: str, size: int) -> NDArray[np.float64] | None:
    value = dataset.get(name)
    if not value:
        return None
    vector = np.array([float(part) for part in value])
    if len(vector) != size or not np.isfinite(vector).all():
        raise ValueError
    return vector
