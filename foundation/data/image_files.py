"""Image files of a hospital: PNG, JPEG, TIFF."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from foundation.data.problems import refuse


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as RGB uint8 `[height, width, 3]`.

    Raises:
        DataError: if it is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise refuse(path, f"not readable as an image ({error})", "replace the file or remove its row") from error
