"""Names for weights as numpy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.generic]]
Arrays = Mapping[str, NDArray[Any]]  # read array by array: it may lie on disk
