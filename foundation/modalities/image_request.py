"""Images in a request."""

import base64
import binascii
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foundation.data.image_files import UNREADABLE, open_bytes, to_rgb
from foundation.data.problems import Problems
from foundation.modalities.request import RequestError, RequestForm, shown

MOST_IMAGES = 4096
_LARGEST_SIDE = 8192
_MOST_PIXELS = 1 << 26  # decoded of one list: 192 MiB as RGB
_FORMATS = ("PNG", "JPEG")
_TOO_LARGE = 413


class RequestImages:
    """The images of a request: counted, and measured by their headers; decoded where they are looked at.

    Args:
        files: bytes of PNG or JPEG files.
        field: of the request, for errors.
        warnings: takes what decoding finds, one line each.

    Raises:
        RequestError: naming the image, if a header cannot be read or says a side that is too long.
    """

    def __init__(self, files: list[bytes], field: str, warnings: list[str]) -> None:
        self._files = files
        self._field = field
        self._warnings = warnings
        self._pixels = [_count_pixels(data, f"{field}[{index}]") for index, data in enumerate(files)]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One image `[height, width, 3]`, decoded."""
        return self._decode(range(len(self))[index])

    def rows(self, index: NDArray[np.integer]) -> list[NDArray[np.uint8]]:
        """Images `[height, width, 3]` of whatever sizes.

        Raises:
            RequestError: before any is decoded, if they have too many pixels together; naming one that is damaged.
        """
        total = sum(self._pixels[place] for place in index)
        if total > _MOST_PIXELS:
            reason = f"{total} pixels in {len(index)} images, at most {_MOST_PIXELS} are decoded"
            raise RequestError(self._field, reason, "send fewer or smaller images", _TOO_LARGE)
        return [self._decode(int(place)) for place in index]

    def _decode(self, place: int) -> NDArray[np.uint8]:
        field, data, problems = f"{self._field}[{place}]", self._files[place], Problems()
        try:
            with open_bytes(data, _FORMATS) as image:
                pixels = to_rgb(image, field, problems)
        except UNREADABLE as error:
            raise _unreadable(field, data) from error
        self._warnings += [str(problem) for problem in problems.warnings]
        return pixels


class ImagesForm(RequestForm):
    """A list of base64 PNG or JPEG images.

    Attributes:
        kind: see `RequestForm`.
        size: side in pixels that the encoder resizes to.
    """

    kind: Literal["images"] = "images"
    size: int

    def read(self, value: Any, field: str, warnings: list[str]) -> RequestImages:
        """Images that are decoded where they are looked at."""
        if not isinstance(value, list) or not value:
            raise RequestError(field, f"found {shown(value)}", "give a list of base64 PNG or JPEG images")
        if len(value) > MOST_IMAGES:
            raise RequestError(field, f"{len(value)} images", f"give at most {MOST_IMAGES}", _TOO_LARGE)
        files = [decode_base64(image, f"{field}[{index}]", "a PNG or JPEG image") for index, image in enumerate(value)]
        return RequestImages(files, field, warnings)

    def count(self, value: Any) -> int:
        return len(value)

    def covered(self, value: Any, place: str, side: int) -> list[Any]:
        """A square is painted in the mean colour of its image."""
        index = int(place.strip("[]"))
        image = self.read([value[index]], place, [])[0]
        small = Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = np.asarray(small, dtype=np.uint8)
        edges = np.linspace(0, self.size, side + 1).astype(int)
        values = [[*value[:index], _png(pixels), *value[index + 1 :]]]
        for row in range(side):
            for column in range(side):
                painted = pixels.copy()
                square = painted[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
                square[:] = pixels.mean(axis=(0, 1)).round()
                values.append([*value[:index], _png(painted), *value[index + 1 :]])
        return values

    def write(self, raw: Any) -> list[str]:
        """As PNG, so that none is changed."""
        return [_png(image) for image in raw]

    def describe(self) -> dict[str, Any]:
        says = f"PNG or JPEG; brought to {self.size} by {self.size} pixels"
        item = {"type": "string", "minLength": 1, "contentEncoding": "base64", "description": says}
        return {"type": "array", "minItems": 1, "maxItems": MOST_IMAGES, "items": item}


def decode_base64(value: Any, field: str, what: str) -> bytes:
    """The bytes of a file in a request.

    Raises:
        RequestError: naming the field, for anything that is no base64 text.
    """
    if not isinstance(value, str):
        raise RequestError(field, f"found {shown(value)}", f"give {what} as base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(field, f"not base64 ({error})", f"encode the bytes of {what}") from error


def encode_base64(data: bytes) -> str:
    """The bytes of a file as a request holds them."""
    return base64.b64encode(data).decode()


def _count_pixels(data: bytes, field: str) -> int:
    """Pixels of an image by its header alone."""
    try:
        with open_bytes(data, _FORMATS) as image:
            width, height = image.size
    except UNREADABLE as error:
        raise _unreadable(field, data) from error
    if max(width, height) > _LARGEST_SIDE:
        advice = f"give sides of at most {_LARGEST_SIDE}"
        raise RequestError(field, f"{width}x{height} pixels", advice, _TOO_LARGE)
    return width * height


def _unreadable(field: str, data: bytes) -> RequestError:
    return RequestError(field, f"{len(data)} bytes that are no readable PNG or JPEG image", "save it anew")


def _png(image: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image, dtype=np.uint8)).save(stream, format="PNG")
    return encode_base64(stream.getvalue())
