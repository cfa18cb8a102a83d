"""NIfTI files read as scans: turned to axial slices as radiologists look at them."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import OrientationError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from foundation.data.problems import Problems, refuse
from foundation.modalities.radiology.hounsfield import where_stored
from foundation.modalities.radiology.label_maps import refuse_label_map
from foundation.modalities.radiology.scan import Scan, SliceSettings, Volume

_AGAIN = "copy or convert the file again"
# What nibabel raises for a file that is none; an offset beyond all numbers overflows.
UNREADABLE = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, OverflowError)
_SECOND = 540  # bytes in the header of NIfTI-2, which opens with this number


def read_nifti(path: Path, settings: SliceSettings, problems: Problems) -> Scan:
    """One volume as a scan; see `open_nifti`.

    Slices are axial, from feet to head, the front of the body up and its right side on the left, as DICOM shows them.

    Args:
        path: `.nii` or `.nii.gz`.
        settings: `channel` where the file has four dimensions, `window` where voxels are Hounsfield units.
        problems: takes warnings.

    Raises:
        DataError: if it cannot be read, is a label map, or has a window but no Hounsfield units.
    """
    volume = open_nifti(path, settings.channel, problems)
    if not settings.label_maps:
        refuse_label_map(path, volume.voxels)
    voxels = volume.voxels if settings.window is None else where_stored(path, volume.voxels, settings.rescale)
    across, along, _ = volume.spacing
    slices = np.ascontiguousarray(voxels[::-1, ::-1].transpose(2, 1, 0))
    return Scan(slices, (along, across), settings.window)


def open_nifti(path: Path, channel: int | None, problems: Problems) -> Volume:
    """One volume; of its header only the geometry is used, for its text fields may name the patient.

    Args:
        path: `.nii` or `.nii.gz`.
        channel: of a file with four dimensions, counted from 0.
        problems: takes warnings: unknown orientation, voxels that are no numbers.

    Raises:
        DataError: if the file is damaged, or not three-dimensional.
    """
    if not path.is_file():
        raise refuse(path, "no such file", "mend its name in the table, or remove the row")
    if not path.stat().st_size:
        raise refuse(path, "empty file", _AGAIN)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)  # to its end: the checksum stands there
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(path, "no gzip file, cut off or damaged", _AGAIN) from error
    return parse_nifti(content, path, channel, problems)


def parse_nifti(content: bytes, path: Path, channel: int | None, problems: Problems, most: int | None = None) -> Volume:
    """The same of a file's bytes, uncompressed; `path` is named in errors, and `most` voxels are read."""
    try:
        second = content[:4] in (_SECOND.to_bytes(4, "little"), _SECOND.to_bytes(4, "big"))
        image = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)
    except UNREADABLE as error:
        raise refuse(path, "no readable NIfTI file", "copy it again, or convert it to NIfTI") from error
    if any(side < 0 for side in image.shape):
        raise refuse(path, "a negative number of voxels", _AGAIN, field="dim", value=image.shape)
    if most is not None and math.prod(image.shape) > most:
        raise refuse(path, f"more than {most} voxels", "give a smaller scan", field="dim", value=image.shape)
    voxels: Any = image.dataobj  # nibabel's type names no offset
    size, start = math.prod(image.shape) * image.get_data_dtype().itemsize, int(voxels.offset)
    if start < int(image.header["sizeof_hdr"]):
        raise refuse(path, "voxels that begin within its header", _AGAIN, field="vox_offset", value=start)
    if start + size > len(content):
        raise refuse(path, "cut off: fewer voxels than its header says", _AGAIN, field="voxels", value=image.shape)
    return _canonical(path, image, channel, problems)


def _canonical(path: Path, image: "nibabel.Nifti1Image", channel: int | None, problems: Problems) -> Volume:
    if image.get_data_dtype().kind not in "iuf":
        finding = "colour or complex voxels"
        raise refuse(path, finding, "write one number a voxel", field="datatype", value=image.get_data_dtype())
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise refuse(path, "axes that span no space", "mend sform or qform, or convert the file again", field="affine")
    if not int(image.header["sform_code"]) and not int(image.header["qform_code"]):
        problems.warn(path, "does not say how it lies in space", "convert it with its orientation", field="sform_code")
    try:
        image = nibabel.as_closest_canonical(image)
        voxels = np.asarray(image.dataobj, dtype=np.float32)
    except (OrientationError, OSError, ValueError) as error:
        raise refuse(path, "cut off or damaged", _AGAIN, field="voxels") from error
    voxels = _three_dimensions(path, voxels, channel)
    finite = np.isfinite(voxels)
    if not finite.any() or voxels[finite].min() == voxels[finite].max():
        raise refuse(path, "all voxels have one value, or none is a number", _AGAIN, field="voxels")
    if not finite.all():
        share = 1 - finite.mean()
        problems.warn(path, f"{share:.2%} of voxels are no numbers; read as the darkest", _AGAIN, field="voxels")
        voxels = np.where(finite, voxels, voxels[finite].min())
    right, front, up = (float(step) for step in image.header.get_zooms()[:3])
    return Volume(voxels, np.asarray(image.affine), (right, front, up))


def _three_dimensions(path: Path, voxels: NDArray[np.float32], channel: int | None) -> NDArray[np.float32]:
    shape = voxels.shape
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 4 and channel is not None:
        if not 0 <= channel < voxels.shape[3]:
            raise refuse(path, f"no channel {channel} among {voxels.shape[3]}", "mend channel", field="channel")
        voxels = voxels[..., channel]
    if voxels.ndim == 4:
        raise refuse(path, f"{voxels.shape[3]} volumes", "choose one by channel", field="dim", value=shape)
    if voxels.ndim != 3 or not voxels.size:
        raise refuse(path, "not three-dimensional", "give one volume a file", field="dim", value=shape)
    return voxels
