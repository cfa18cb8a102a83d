"""Pathology on a cohort's page: how stains differ by hospital."""

import numpy as np
from numpy.typing import NDArray

from foundation.data import pictures
from foundation.data.cohort import Cohort
from foundation.data.sections import Drawn, Section, section, values_of

_TILES = 4  # a patient, enough for a mean colour


def describe(cohort: Cohort, drawn: Drawn) -> Section | None:
    """Mean optical density, a dot a patient; None where tiles are features."""
    stain = {
        name: np.stack(
            [_density(tiles.rows(slice(_TILES))) for tiles in each if tiles.dtype == np.uint8] or [np.empty(0)]
        )
        for name, each in values_of(cohort, drawn, "pathology")
    }
    points = {name: density[:, [0, 1]] for name, density in stain.items() if density.size}
    if not points:
        return None
    figure = pictures.scatter(points, "optical density in red (haematoxylin)", "in green (eosin)")
    note = "Stain and scanner differ by hospital: hospitals apart here can be told apart by a model, too."
    return section("Pathology", [], figure, note=note)


def _density(images: list[NDArray[np.uint8]]) -> NDArray[np.floating]:
    """Mean optical density by channel `[3]` (Ruifrok and Johnston 2001)."""
    each = [-np.log10((image.astype(np.float32) + 1) / 256).mean(axis=(0, 1)) for image in images]
    return np.asarray(np.mean(each, axis=0))
