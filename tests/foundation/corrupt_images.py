"""Damage to the small cohort's images: what is done, and words of the one error that it gives."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from tests.foundation.cohort_files import cut, declare_otherwise, picture
from tests.foundation.scan_files import body, dicom, save, write_nifti, write_series
from tests.foundation.slide_files import REAL, tissue, write_tiff
from tests.foundation.table_damage import Damage

PNG, JPG, SERIES, VOLUME, FEATURES = (
    "north/pathology/N000_1.png",
    "north/pathology/N000_0.jpg",
    "north/radiology/N003",
    "north/radiology/N004.nii.gz",
    "south/features/S000.h5",
)


def cut_off(place: str, share: float = 0.6) -> Callable[[Path], object]:
    return lambda root: cut(root / place, share)


def written(place: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / place).write_bytes(content)


def removed(place: str) -> Callable[[Path], object]:
    return lambda root: (root / place).unlink()


def slice_with(index: int, **tags: object) -> Callable[[Path], object]:
    """One slice of north's series anew, with other tags."""

    def build(root: Path) -> None:
        own = {"ImagePositionPatient": [0, 0, 5 * index], "InstanceNumber": index + 1, **tags}
        save(dicom(body()[index], **own), root / SERIES / f"{6 - index:03}.dcm")

    return build


def features(values: object = None, coords: object = None, **more: object) -> Callable[[Path], object]:
    """South's first file anew; parts that are None are left out."""

    def build(root: Path) -> None:
        with h5py.File(root / FEATURES, "w") as file:
            for name, content in (("features", values), ("coords", coords), *more.items()):
                if content is not None:
                    file[name] = content

    return build


def slide(write: Callable[[Path], object], name: str = "N000.tif") -> Callable[[Path], object]:
    """A slide in the place of north's regions."""

    def build(root: Path) -> None:
        (root / "north" / "pathology.csv").unlink()
        (root / "north" / "slides").mkdir()
        write(root / "north" / "slides" / name)

    return build


def cut_slide(path: Path) -> None:
    shutil.copy(REAL, path)
    cut(path, 0.5)


def cut_tiff(path: Path) -> None:
    """A TIFF whose directory stands first: it opens all the same."""
    write_tiff(path, tissue(1200, 1200), levels=1)
    cut(path, 0.7)


def copied(root: Path) -> None:
    shutil.copy(root / PNG, root / "north/pathology/N001_1.png")


def animated(root: Path) -> None:
    first, second = (Image.fromarray(picture(seed)) for seed in (1, 2))
    first.save(root / PNG, save_all=True, append_images=[second])


def paged(root: Path) -> None:
    first, second = (Image.fromarray(picture(seed)) for seed in (1, 2))
    first.save(root / JPG, "TIFF", save_all=True, append_images=[second])


def floats(root: Path) -> None:
    Image.fromarray(picture(1)[..., 0].astype(np.float32)).save(root / JPG, "TIFF")


def untagged(root: Path) -> None:
    for index in range(len(body())):
        slice_with(index, RescaleSlope=None, RescaleIntercept=None)(root)


def labelled(root: Path) -> None:
    labels = np.zeros((4, 16, 16), np.int16)
    labels[1:3, 4:12, 4:12] = 1
    write_nifti(root / VOLUME, labels)


def of_two(root: Path) -> None:
    (root / VOLUME).rename(root / "north" / "radiology" / "N004_N005.nii.gz")


def planar(root: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(body()[0], np.eye(4)), root / VOLUME)


def flat(root: Path) -> None:
    write_nifti(root / VOLUME, np.zeros((4, 16, 16), np.int16))


def beside(root: Path) -> None:
    path = root / "north" / "pathology.csv"
    table = pd.read_csv(path)
    with h5py.File(root / "north" / "N005.h5", "w") as file:
        file["features"], file["coords"] = np.eye(6, 16, dtype=np.float32), CORNERS
    pd.concat([table, pd.DataFrame({"patient_id": ["N005"], "file": ["N005.h5"]})]).to_csv(path, index=False)


def another_series(root: Path) -> None:
    write_series(root / "north" / "more", body(2), SeriesInstanceUID="1.2.3")
    for path in (root / "north" / "more").iterdir():
        path.rename(root / SERIES / f"more{path.name}")


VALUES, CORNERS = np.ones((6, 16), np.float32), np.zeros((6, 2), np.int64)
IMAGES: dict[str, Damage] = {
    "png cut off": (cut_off(PNG), "N000_1.png: not readable as an image"),
    "png empty": (written(PNG, b""), "N000_1.png: not readable as an image"),
    "png of text": (written(PNG, b"no image"), "N000_1.png: not readable as an image"),
    "png missing": (removed(PNG), "N000_1.png: not readable as an image"),
    "png of several pictures": (animated, "N000_1.png: field pages: 2 pages; save one image a file"),
    "tiff of several pages": (paged, "N000_0.jpg: field pages: 2 pages; save one image a file"),
    "tiff of fractions": (floats, "N000_0.jpg: field depth: numbers whose black and white it does not say (F)"),
    "jpeg cut off": (cut_off(JPG), "N000_0.jpg: not readable as an image"),
    "jpeg of text": (written(JPG, b"\xff\xd8\xff but no more"), "N000_0.jpg: not readable as an image"),
    "features cut off": (cut_off(FEATURES), "S000.h5: "),
    "features of text": (written(FEATURES, b"no features"), "S000.h5: no HDF5 file"),
    "features without features": (features(coords=CORNERS, feats=VALUES), "S000.h5: field features: no dataset"),
    "features without coords": (features(VALUES), "S000.h5: field coords: no dataset"),
    "features of four dimensions": (features(VALUES[None, None], CORNERS), "S000.h5: field features: not [tiles, dim]"),
    "features with nan": (features(VALUES * np.nan, CORNERS), "S000.h5: field features: NaN or infinite in tile 0 of"),
    "features all zero": (features(VALUES * 0, CORNERS), "S000.h5: field features: every value is zero"),
    "features of fewer coords": (features(VALUES, CORNERS[:4]), "S000.h5: field coords: 4 coordinates for 6 tiles"),
    "features of another extractor": (features(VALUES[:, :8], CORNERS), "field features: "),
    "features beside pictures": (beside, "north/N005.h5"),
    "dicom cut off": (cut_off(f"{SERIES}/003.dcm"), "N003/003.dcm: field PixelData"),
    "dicom empty": (written(f"{SERIES}/003.dcm", b""), "N003/003.dcm: empty file"),
    "dicom of text": (written(f"{SERIES}/003.dcm", b"no scan" * 99), "N003/003.dcm: no DICOM file"),
    "dicom without pixels": (slice_with(2, PixelData=None), "N003/004.dcm: field PixelData: no pixels"),
    "dicom burned in": (
        slice_with(2, BurnedInAnnotation="YES"),
        "N003/004.dcm: field BurnedInAnnotation: text is burned",
    ),
    "dicom of two patients": (
        slice_with(2, PatientID="other"),
        "N003: field PatientID: files of 2 patients lie together",
    ),
    "dicom of two series": (another_series, "N003: field SeriesInstanceUID: files of 2 series lie together"),
    "ct without rescale tags": (untagged, "N003: field RescaleIntercept: CT without rescale tags in 6 of 6 slices"),
    "nifti of labels": (labelled, "N004.nii.gz: field voxels: a mask or label map, no scan"),
    "file of two patients": (of_two, "N004_N005.nii.gz: field patient_id: names two patients, N004 and N005"),
    "nifti cut off": (cut_off(VOLUME), "N004.nii.gz: no gzip file, cut off or damaged"),
    "nifti empty": (written(VOLUME, b""), "N004.nii.gz: empty file"),
    "nifti of two dimensions": (planar, "N004.nii.gz: field dim: not three-dimensional"),
    "nifti of one value": (flat, "N004.nii.gz: field voxels: all voxels have one value"),
    "nifti of no window": (
        lambda root: declare_otherwise(root, sources={"radiology": {"files": "radiology/**/*", "slices": 0}}),
        "cohort.yaml: field sources.radiology.slices",
    ),
}
SLIDES: dict[str, Damage] = {
    "svs cut off": (slide(cut_slide, "N000.svs"), "north/slides/N000.svs: "),
    "svs of text": (
        slide(lambda path: path.write_text("no slide"), "N000.svs"),
        "N000.svs: no slide that OpenSlide reads",
    ),
    "svs empty": (slide(lambda path: path.write_bytes(b""), "N000.svs"), "north/slides/N000.svs: empty file"),
    "tiff cut off": (slide(cut_tiff), "north/slides/N000.tif: "),
    "tiff of no resolution": (
        slide(lambda path: write_tiff(path, tissue(700, 700), mpp=None)),
        "N000.tif: field mpp: the slide does not say; declare slide_mpp",
    ),
    "tiff coarse": (
        slide(lambda path: write_tiff(path, tissue(700, 700), mpp=2.0)),
        "N000.tif: field mpp: scanned at 2 microns per pixel, coarser than the 0.5 wanted",
    ),
    "tiff of glass": (
        slide(lambda path: write_tiff(path, np.full((700, 700, 3), 243, np.uint8))),
        "N000.tif: field tissue: no tile with 30% tissue",
    ),
}
# What comparing patients finds; packing, which compares none, leaves it to `validate`.
SHARED: dict[str, Damage] = {
    "one picture of two patients": (copied, "patient N001: the same file as patient N000's N000_1.png; look at both"),
}
