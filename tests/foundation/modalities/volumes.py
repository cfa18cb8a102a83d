"""Radiology volumes that tests declare and read: one small grid."""

from pathlib import Path

import numpy as np

from foundation.data.problems import Problems
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.scans import read_volume

NAME = "radiology_volumes"
GRID = {"spacing": [4, 4, 5], "shape": [16, 12, 8], "windows": [[0, 1000], [-500, 800]]}


def placed(path: Path, kind: str, grid: Grid | None = None) -> np.ndarray:
    return (grid or Grid.model_validate(GRID)).place(read_volume(path, kind, None, Problems()))


def declaration(**settings: object) -> dict[str, object]:
    return {
        "name": "volumes",
        "synthetic": True,
        "description": "written by tests",
        "hospitals": ["north", "south"],
        "dictionary": {
            "record": [{"name": "age", "kind": "continuous", "center": 60, "scale": 12}],
            "labels": ["biomarker"],
            "settings": {NAME: {**GRID, **settings}},
        },
    }
