"""A hospital's site folder, read: plain tables keyed by patient, and the images that they name.

| file | columns |
| --- | --- |
| `patients.csv` | `patient_id`, labels, survival |
| `pathology.csv`, `radiology.csv` | `patient_id`, `file` (a row an image, relative to the site folder) |
| `expression.csv`, `mutations.csv`, `copy_number.csv` | `patient_id`, a column a gene |
| `reports.csv` | `patient_id`, `text` |
| `record.csv` | `patient_id`, the data dictionary's columns |
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from foundation.data.problems import refuse
from foundation.errors import UserError

KEY = "patient_id"


def read_table(path: Path, required: tuple[str, ...] = (), unique: bool = True) -> pd.DataFrame | None:
    """A table indexed by patient; None if the hospital has no such file.

    Raises:
        UserError: on a missing key or column, a duplicated patient, or a file that is no table.
    """
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, dtype={KEY: str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as a CSV table ({error}); export it again as UTF-8 CSV") from error
    for column in (KEY, *required):
        if column not in table.columns:
            raise UserError(f"{path}: no column '{column}' among {', '.join(table.columns[:6])}; add it or rename one")
    if table[KEY].isna().any():
        row = int(table[KEY].isna().to_numpy().argmax()) + 2
        raise UserError(f"{path}: row {row}, field {KEY}: empty; every row needs its patient")
    if unique and table[KEY].duplicated().any():
        raise UserError(
            f"{path}: field {KEY}: '{table[KEY][table[KEY].duplicated()].iloc[0]}' stands twice; keep one row"
        )
    return table.set_index(KEY)


def read_patients(site: Path) -> pd.DataFrame:
    """The hospital's patients.

    Raises:
        UserError: if the folder or the table is missing, or nobody is in it.
    """
    if not site.is_dir():
        raise UserError(
            f"{site}: no such folder; cohort.yaml names this hospital, so give its folder or remove its name"
        )
    patients = read_table(site / "patients.csv")
    if patients is None:
        raise UserError(f"{site / 'patients.csv'}: missing; list the hospital's patients there, one a row")
    if not len(patients):
        raise UserError(f"{site / 'patients.csv'}: no patient; remove the hospital from cohort.yaml or fill the table")
    return patients


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
