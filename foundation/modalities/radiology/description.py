"""Radiology on a cohort's page: how bright scans are by hospital."""

import numpy as np

from foundation.data import pictures
from foundation.data.cohort import Cohort
from foundation.data.sections import Drawn, Section, section, values_of

_SLICES = 4  # a patient, enough for a mean


def describe(cohort: Cohort, drawn: Drawn) -> Section | None:
    """Mean brightness, a value a patient."""
    light = {
        name: np.array([np.mean([row.mean() for row in slices.rows(slice(_SLICES))]) for slices in each])
        for name, each in values_of(cohort, drawn, "radiology")
    }
    light = {name: values for name, values in light.items() if len(values)}
    if not light:
        return None
    note = "Scanners differ by hospital: hospitals apart here can be told apart by a model, too."
    return section("Radiology", [], pictures.boxes(light, "mean brightness of radiology, 0 to 255"), note=note)
