"""Scans that tests write: DICOM series and NIfTI volumes of one small body."""

from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRETS = {
    "PatientName": "DOE^SECRETIA",
    "PatientID": "MRN4711",
    "PatientBirthDate": "19480229",
    "InstitutionName": "St Elsewhere",
    "ReferringPhysicianName": "HOUSE^GREGORY",
    "AccessionNumber": "ACC99887",
    "StudyDescription": "Staging of Secretia Doe",
    "SeriesDate": "20240131",
}


def body(slices: int = 6, rows: int = 24, columns: int = 32) -> np.ndarray:
    """Hounsfield units `[slices, rows, columns]`, feet first, front up, right on the left; no two corners alike."""
    z, y, x = np.mgrid[:slices, :rows, :columns]
    return (-1000 + 200 * z + 20 * y + 3 * x).astype(np.int16)


def dicom(pixels: np.ndarray, **tags: object) -> Dataset:
    """One CT slice; stored values are Hounsfield units plus 1024, halved."""
    meta, dataset = FileMetaDataset(), Dataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer, dataset.SliceThickness = "ACME", 5
    for name, value in SECRETS.items():
        setattr(dataset, name, value)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [2, 2], [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient, dataset.InstanceNumber = [0, 0, 0], 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
    dataset.PixelData = ((pixels.astype(int) + 1024) // 2).astype("<i2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, volume: np.ndarray | None = None, **tags: object) -> Path:
    """A CT series, files named against the order of slices."""
    volume = body() if volume is None else volume
    for index, pixels in enumerate(volume):
        own = {"ImagePositionPatient": [0, 0, 5 * index], "InstanceNumber": index + 1, **tags}
        save(dicom(pixels, **own), folder / f"{len(volume) - index:03}.dcm")
    return folder


def enhanced(volume: np.ndarray) -> Dataset:
    """The same in one multi-frame file, whose functional groups hold geometry and rescaling, frames head first."""
    frames = volume[::-1]
    dataset = dicom(frames[0], ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = ((frames.astype(int) + 1024) // 2).astype("<i2").tobytes()
    shared, measures, plane, values = (Dataset() for _ in range(4))
    measures.PixelSpacing, plane.ImageOrientationPatient = [2, 2], [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -1024, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [values]
    dataset.SharedFunctionalGroupsSequence, groups = [shared], []
    for index in range(len(frames)):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 5 * (len(frames) - 1 - index)]
        group.PlanePositionSequence = [position]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def write_nifti(path: Path, volume: np.ndarray | None = None, axes: str = "RAS") -> Path:
    """The same body as NIfTI, its voxels stored along `axes`."""
    volume = body() if volume is None else volume
    ras = np.asarray(volume).transpose(2, 1, 0, *range(3, volume.ndim))[::-1, ::-1]
    image = nibabel.Nifti1Image(ras, np.diag([2.0, 2.0, 5.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    image = image.as_reoriented(turn)
    image.header["descrip"] = b"DOE^SECRETIA MRN4711"
    nibabel.save(image, path)
    return path
