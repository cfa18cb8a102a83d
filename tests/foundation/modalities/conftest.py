"""A drawn slide, as a picture and as a pyramid."""

from pathlib import Path

import numpy as np
import pytest

from tests.foundation.slide_files import tissue, write_tiff


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return tissue(768, 1024)


@pytest.fixture(scope="module")
def pyramid(picture, tmp_path_factory) -> Path:
    return write_tiff(tmp_path_factory.mktemp("slide") / "a.tif", picture)
