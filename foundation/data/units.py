"""Units of gene expression: exact conversions, refused where there is none, and checked against the values.

`log2_` means log2(x + 1). TPM of FPKM: Li and Dewey 2011, exact only over a whole transcriptome.
"""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from foundation.data.problems import Problem, Problems, refuse

Unit = Literal["counts", "cpm", "log2_cpm", "tpm", "log2_tpm", "fpkm", "log2_fpkm", "zscore"]
UNITS: tuple[str, ...] = get_args(Unit)
LINEAR = ("counts", "cpm", "tpm", "fpkm")
TRANSCRIPTOME = 15_000  # genes from which a table is taken for a whole transcriptome
_OF_THE_WHOLE = (("fpkm", "tpm"), ("counts", "cpm"))  # shares of all that was read
_HIGHEST_LOG2 = 40.0
_ADVICE = "check the unit declared in cohort.yaml"


def convert(values: pd.DataFrame, current: str, wanted: str, path: Path) -> pd.DataFrame:
    """Expression in the wanted unit.

    Args:
        values: `[patients, genes]`, NaN where not measured.
        current: unit that they are in.
        wanted: of `UNITS`.
        path: where they were read, for messages.

    Raises:
        DataError: if there is no exact way from one unit to the other.
    """
    for unit in (current, wanted):
        if unit not in UNITS:
            raise refuse(path, f"no unit '{unit}'", f"give one of {', '.join(UNITS)}", field="unit")
    if current == wanted:
        return values
    source, target = current.removeprefix("log2_"), wanted.removeprefix("log2_")
    linear = values if source == current else np.exp2(values) - 1
    if source != target:
        whole = values.shape[1] >= TRANSCRIPTOME and bool(values.notna().all(axis=None))
        if not whole or (source, target) not in _OF_THE_WHOLE:
            why = "gene lengths, numbers of reads or the reference are not in the table"
            if (source, target) in _OF_THE_WHOLE:
                why = f"{values.shape[1]} genes are not the whole transcriptome"
            message = f"'{current}' cannot be converted exactly to '{wanted}': {why}"
            raise refuse(path, message, f"export it as {wanted}", field="unit")
        linear = linear.div(linear.sum(axis=1), axis=0) * 1e6
    return linear if target == wanted else np.log2(linear + 1)


def check_unit(values: pd.DataFrame, unit: str, path: Path) -> list[Problem]:
    """Values that cannot be, or hardly are, in the unit declared.

    Args:
        values: `[patients, genes]` as read.
        unit: declared.
        path: where they were read.
    """
    problems = Problems()
    low, high = float(values.min(axis=None)), float(values.max(axis=None))
    if np.isnan(low):
        return []
    if unit != "zscore" and low < 0:
        problems.error(path, f"negative values cannot be {unit}", _ADVICE, field="unit", value=f"{low:g}")
    if unit == "counts" and not np.array_equal(values, np.floor(values), equal_nan=True):
        problems.error(path, "counts are whole numbers, these are not", _ADVICE, field="unit")
    if unit.startswith("log2_") and high > _HIGHEST_LOG2:
        problems.error(path, f"values are too high for {unit}", _ADVICE, field="unit", value=f"{high:g}")
    if unit in ("tpm", "cpm") and values.shape[1] >= TRANSCRIPTOME:
        sums = values.sum(axis=1)
        if ((sums - 1e6).abs() > 1e5).any():
            finding = f"a profile's {unit} sum to {sums.iloc[int((sums - 1e6).abs().argmax())]:.4g}, not to a million"
            problems.warn(path, finding, _ADVICE, field="unit")
    if unit in ("tpm", "fpkm", "cpm", "counts") and 0 < high < 25 and values.size > 100:
        problems.warn(path, f"no value above {high:.3g}: these look like logarithms", _ADVICE, field="unit")
    if unit == "zscore" and low >= 0 and values.size > 100:
        problems.warn(path, "no negative value: these do not look like z-scores", _ADVICE, field="unit")
    return problems.listed
