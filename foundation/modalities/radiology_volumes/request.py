"""Radiology volumes in a request: NIfTI files."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import Problems
from foundation.modalities.image_request import decode_base64, encode_base64
from foundation.modalities.radiology.hounsfield import where_stored
from foundation.modalities.radiology.label_maps import is_label_map
from foundation.modalities.radiology.nifti import UNREADABLE, parse_nifti
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.scans import check_spacing
from foundation.modalities.request import RequestError, RequestForm, shown

_MOST = 16
_LARGEST = 1 << 30  # bytes of all scans together, uncompressed
_VOXELS = 1 << 28  # of one scan, such as 512 x 512 x 1024: in memory, each takes a dozen bytes for a while
_TOO_LARGE = 413
_WHAT = "a .nii.gz file"
_ON_THE_GRID = "on the grid"  # in the header of a scan that was brought there already


class VolumesForm(RequestForm):
    """A list of scans, base64 of gzipped NIfTI.

    Attributes:
        kind: see `RequestForm`.
        grid: that the encoder's scans are on.
    """

    kind: Literal["volumes"] = "volumes"
    grid: Grid

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.uint8]:
        """Scans as uint8 `[scans, right, front, up, channels]`."""
        if not isinstance(value, list) or not value:
            raise RequestError(field, f"found {shown(value)}", f"give a list of base64 {_WHAT[2:]}s")
        if len(value) > _MOST:
            raise RequestError(field, f"{len(value)} scans", f"give at most {_MOST}", _TOO_LARGE)
        scans, left = [], _LARGEST
        for index, scan in enumerate(value):
            content = _unzip(decode_base64(scan, f"{field}[{index}]", _WHAT), f"{field}[{index}]", left)
            left -= len(content)
            scans.append(self._scan(content, f"{field}[{index}]", warnings))
        return np.stack(scans)

    def count(self, value: Any) -> int:
        return len(value)

    def write(self, raw: Any) -> list[str]:
        """As they are on the grid, marked so in the header."""
        return [encode_base64(gzip.compress(_to_nifti(scan, self.grid), mtime=0)) for scan in raw]

    def describe(self) -> dict[str, Any]:
        says = f"gzipped NIfTI; brought to {self.grid.shape} voxels of {self.grid.spacing} mm"
        kind = {"contentEncoding": "base64", "contentMediaType": "application/gzip"}
        item = {"type": "string", **kind, "description": says}
        return {"type": "array", "minItems": 1, "maxItems": _MOST, "items": item}

    def _scan(self, content: bytes, field: str, warnings: list[str]) -> NDArray[np.uint8]:
        placed = _on_the_grid(content)
        if placed is not None:
            if placed.shape != self.grid.size:
                reason = f"{placed.shape} voxels on a grid of {self.grid.size}"
                raise RequestError(field, reason, "give the scan itself")
            return placed
        problems = Problems()
        volume = parse_nifti(content, Path(field), None, problems, _VOXELS)
        warnings += [str(problem) for problem in problems.warnings]
        check_spacing(volume, Path(field))
        if is_label_map(volume.voxels):
            warnings.append(f"{field}: looks like a mask or label map, no scan: few values in even patches")
        if self.grid.windows:
            where_stored(Path(field), volume.voxels, None)
        return self.grid.place(volume)


FORM = VolumesForm


def _unzip(data: bytes, field: str, most: int) -> bytes:
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = stream.decompress(data, max(most, 1))  # 0 would mean no limit
    except zlib.error as error:
        raise RequestError(field, f"{len(data)} bytes that are no gzip file", f"give {_WHAT}") from error
    if stream.unconsumed_tail:
        reason = f"more than {_LARGEST >> 20} MiB uncompressed, with the scans before it"
        raise RequestError(field, reason, "give fewer or smaller scans", _TOO_LARGE)
    if not stream.eof:
        raise RequestError(field, f"cut off after {len(data)} bytes", "send the whole file")
    return content


def _to_nifti(scan: NDArray[np.uint8], grid: Grid) -> bytes:
    image = nibabel.Nifti1Image(np.asarray(scan, dtype=np.uint8), np.diag([*grid.spacing, 1.0]))
    image.header["intent_name"] = _ON_THE_GRID
    return bytes(image.to_bytes())


def _on_the_grid(content: bytes) -> NDArray[np.uint8] | None:
    """The voxels of a scan that `write` made; None for any other."""
    try:
        image = nibabel.Nifti1Image.from_bytes(content)
    except UNREADABLE:
        return None  # what is wrong with it is said where scans are read
    if image.header["intent_name"].item() != _ON_THE_GRID.encode() or image.get_data_dtype() != np.uint8:
        return None
    voxels: Any = image.dataobj  # nibabel's type names neither
    whole = min(image.shape) > 0 and len(content) >= int(voxels.offset) + math.prod(image.shape)
    return np.asarray(voxels.get_unscaled()) if whole else None
