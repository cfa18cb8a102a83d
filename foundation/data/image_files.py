"""Pictures as RGB, by one reader for files that are packed and for images in a request."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from foundation.data.problems import Problems, refuse

UNREADABLE = (OSError, ValueError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0, section 8
_WHITE = (255, 255, 255, 255)
_TWELVE_BITS = 4095


def read_image(path: Path, problems: Problems | None = None) -> NDArray[np.uint8]:
    """An image file as RGB; see `to_rgb`.

    Raises:
        DataError: if it is missing, truncated or no image, or is refused by `to_rgb`.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image, path, problems or Problems())
    except UNREADABLE as error:
        raise refuse(path, f"not readable as an image ({error})", "replace the file or remove its row") from error


def open_bytes(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """An image whose bytes are at hand; only its header is read yet.

    Raises:
        OSError: among others of `UNREADABLE`, if it is of no such format.
    """
    return Image.open(BytesIO(data), formats=formats)


def to_rgb(image: Image.Image, place: Path | str, problems: Problems) -> NDArray[np.uint8]:
    """A picture as people see it, RGB `[height, width, 3]` uint8.

    Sixteen bits become eight by their depth, what is transparent becomes white, and the orientation that a camera
    noted is applied.

    Args:
        image: opened.
        place: file or field, for messages.
        problems: takes a warning where a picture of sixteen bits uses twelve of them.

    Raises:
        DataError: for several pages, and for numbers whose black and white nobody says.
    """
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        advice = "save one image a file; a slide is declared by kind: slides"
        raise refuse(place, f"{pages} pages", advice, field="pages")
    if image.mode in ("I", "F"):
        advice = "save it with 8 or 16 bits a channel, without a sign"
        raise refuse(place, "numbers whose black and white it does not say", advice, field="depth", value=image.mode)
    if image.mode.startswith("I;16"):
        return np.repeat(_eight_bits(image, place, problems)[..., None], 3, axis=2)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return np.asarray(image.convert("RGB"))


def _eight_bits(image: Image.Image, place: Path | str, problems: Problems) -> NDArray[np.uint8]:
    """Grey levels `[height, width]` of a picture of sixteen bits."""
    inverted = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    clear = image.info.get("transparency")
    levels = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint32)
    if 0 < levels.max() <= _TWELVE_BITS:
        finding = f"grey levels up to {levels.max()} of 65535: it becomes dark, for its sixteen bits hold fewer"
        problems.warn(place, finding, "write it anew so that white is 65535", field="depth")
    eight = np.asarray((levels + 128) // 257, dtype=np.uint8)
    if inverted:
        eight = 255 - eight
    return eight if clear is None else np.where(levels == clear, np.uint8(255), eight)
