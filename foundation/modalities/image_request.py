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
from foundation.errors import UserError
from foundation.modalities.request import RequestForm, shown

MOST_IMAGES = 4096
_LARGEST_SIDE = 8192


class ImagesForm(RequestForm):
    """A list of base64 PNG or JPEG images.

    Attributes:
        kind: see `RequestForm`.
        size: side in pixels that the encoder resizes to.
    """

    kind: Literal["images"] = "images"
    size: int

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """Images as uint8 `[images, height, width, 3]`; a list of them where they are of several sizes."""
        if not isinstance(value, list) or not value:
            raise UserError(f"{field}: found {shown(value)}; give a list of base64 PNG or JPEG images")
        if len(value) > MOST_IMAGES:
            raise UserError(f"{field}: {len(value)} images; give at most {MOST_IMAGES}")
        problems = Problems()
        images = [_decode_image(image, f"{field}[{index}]", problems) for index, image in enumerate(value)]
        warnings += [str(problem) for problem in problems.warnings]
        return np.stack(images) if len({image.shape for image in images}) == 1 else images

    def write(self, raw: Any) -> list[str]:
        """As PNG, so that none is changed."""
        return [_png(image) for image in raw]

    def describe(self) -> dict[str, Any]:
        says = f"PNG or JPEG; brought to {self.size} by {self.size} pixels"
        item = {"type": "string", "contentEncoding": "base64", "description": says}
        return {"type": "array", "minItems": 1, "items": item}


def decode_base64(value: Any, field: str, what: str) -> bytes:
    """The bytes of a file in a request.

    Raises:
        UserError: naming the field, for anything that is no base64 text.
    """
    if not isinstance(value, str):
        raise UserError(f"{field}: found {shown(value)}; give {what} as base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{field}: not base64 ({error}); encode the bytes of {what}") from error


def encode_base64(data: bytes) -> str:
    """The bytes of a file as a request holds them."""
    return base64.b64encode(data).decode()


def _decode_image(value: Any, field: str, problems: Problems) -> NDArray[np.uint8]:
    data = decode_base64(value, field, "a PNG or JPEG image")
    try:
        with open_bytes(data, ("PNG", "JPEG")) as image:
            if max(image.size) > _LARGEST_SIDE:
                raise UserError(f"{field}: {image.width}x{image.height} pixels; give sides of at most {_LARGEST_SIDE}")
            return to_rgb(image, field, problems)
    except UNREADABLE as error:
        raise UserError(f"{field}: {len(data)} bytes that are no readable PNG or JPEG image; save it anew") from error


def _png(image: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image, dtype=np.uint8)).save(stream, format="PNG")
    return encode_base64(stream.getvalue())
