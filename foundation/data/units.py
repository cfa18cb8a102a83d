"""Units of gene expression: exact conversions, refused where there is none, and checked against the values.

`log2_`, `ln_` and `log10_` mean the logarithm of x + 1, or of x + the offset that is declared. TPM of FPKM: Li and
Dewey 2011, exact only over a whole transcriptome.
"""

import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from foundation.data.problems import Problem, Problems, refuse

Unit = Literal[
    "counts",
    "cpm",
    "tpm",
    "fpkm",
    "log2_counts",
    "log2_cpm",
    "log2_tpm",
    "log2_fpkm",
    "ln_counts",
    "ln_cpm",
    "ln_tpm",
    "ln_fpkm",
    "log10_counts",
    "log10_cpm",
    "log10_tpm",
    "log10_fpkm",
    "zscore",
]
UNITS: tuple[str, ...] = get_args(Unit)
LINEAR = ("counts", "cpm", "tpm", "fpkm")
BASES = {"log2": 2.0, "ln": math.e, "log10": 10.0}
TRANSCRIPTOME = 15_000  # genes from which a table is taken for a whole transcriptome
_OF_THE_WHOLE = (("fpkm", "tpm"), ("counts", "cpm"))  # shares of all that was read
HIGHEST_LOG2 = 40.0  # of expression in any unit
_USUAL_OFFSETS = (0.001, 0.01, 0.1, 0.5, 1e-9)
_HIGHEST_Z = 100.0
_ADVICE = "check the unit declared in cohort.yaml"


def base_of(unit: str) -> float | None:
    """The base of a logarithmic unit; None of another."""
    return BASES.get(unit.partition("_")[0])


def convert(values: pd.DataFrame, current: str, wanted: str, path: Path, offset: float = 1.0) -> pd.DataFrame:
    """Expression in the wanted unit.

    Args:
        values: `[patients, genes]`, NaN where not measured.
        current: unit that they are in.
        wanted: of `UNITS`.
        path: where they were read, for messages.
        offset: that was added before the logarithm was taken; in the wanted unit it is 1.

    Raises:
        DataError: if there is no exact way from one unit to the other.
    """
    for unit in (current, wanted):
        if unit not in UNITS:
            raise refuse(path, f"no unit '{unit}'", f"give one of {', '.join(UNITS)}", field="unit")
    if current == wanted and (offset == 1 or base_of(current) is None):
        return values
    base, target_base = base_of(current), base_of(wanted)
    source, target = (unit if unit in LINEAR else unit.partition("_")[2] or unit for unit in (current, wanted))
    if source == target and base is not None and target_base is not None and offset == 1:
        return values * (math.log(base) / math.log(target_base))
    linear = values if base is None else (np.power(base, values) - offset).clip(lower=0)
    if source != target:
        whole = values.shape[1] >= TRANSCRIPTOME and bool(values.notna().all(axis=None))
        if not whole or (source, target) not in _OF_THE_WHOLE:
            why = "gene lengths, numbers of reads or the reference are not in the table"
            if (source, target) in _OF_THE_WHOLE:
                why = f"{values.shape[1]} genes are not the whole transcriptome"
            message = f"'{current}' cannot be converted exactly to '{wanted}': {why}"
            raise refuse(path, message, f"export it as {wanted}", field="unit")
        linear = linear.div(linear.sum(axis=1), axis=0) * 1e6
    if target_base is None:
        return linear
    return np.log2(linear + 1) if target_base == 2 else np.log(linear + 1) / math.log(target_base)


def check_unit(values: pd.DataFrame, unit: str, path: Path, offset: float = 1.0) -> list[Problem]:
    """Values that cannot be, or hardly are, in the unit declared.

    Args:
        values: `[patients, genes]` as read.
        unit: declared.
        path: where they were read.
        offset: declared, of a logarithm.
    """
    problems = Problems()
    low, high = float(values.min(axis=None)), float(values.max(axis=None))
    if np.isnan(low):
        return []
    base = base_of(unit)
    lowest = 0.0 if base is None else math.log(offset, base)
    if unit != "zscore" and low < lowest - (0.0 if offset == 1 else 1e-3):
        finding = f"negative values cannot be {unit}" if offset == 1 else f"values are below {unit} of the offset"
        problems.error(path, finding, _offset_advice(low, base), field="unit", value=f"{low:g}")
    if unit == "counts" and not np.array_equal(values, np.floor(values), equal_nan=True):
        problems.error(path, "counts are whole numbers, these are not", _ADVICE, field="unit")
    if base is not None and high > HIGHEST_LOG2 / math.log2(base):
        problems.error(path, f"values are too high for {unit}", _ADVICE, field="unit", value=f"{high:g}")
    if (
        base is not None
        and high >= 2
        and values.size > 100
        and np.array_equal(values, np.floor(values), equal_nan=True)
    ):
        problems.warn(path, f"all values are whole numbers: these look like counts, not {unit}", _ADVICE, field="unit")
    if unit in ("tpm", "cpm") and values.shape[1] >= TRANSCRIPTOME:
        sums = values.sum(axis=1)
        if ((sums - 1e6).abs() > 1e5).any():
            finding = f"a profile's {unit} sum to {sums.iloc[int((sums - 1e6).abs().argmax())]:.4g}, not to a million"
            problems.warn(path, finding, _ADVICE, field="unit")
    if unit in LINEAR and 0 < high < 25 and values.size > 100:
        problems.warn(path, f"no value above {high:.3g}: these look like logarithms", _ADVICE, field="unit")
    if unit == "zscore":
        _check_zscore(values, low, high, path, problems)
    return problems.listed


def _check_zscore(values: pd.DataFrame, low: float, high: float, path: Path, problems: Problems) -> None:
    if low >= 0 and values.size > 100:
        problems.warn(path, "no negative value: these do not look like z-scores", _ADVICE, field="unit")
    extreme = max(abs(low), high)
    if extreme > _HIGHEST_Z:
        count = int((values.abs() > _HIGHEST_Z).to_numpy().sum())
        finding = f"{count} values beyond {_HIGHEST_Z:g}, the farthest {extreme:g}: no z-score is that far"
        problems.warn(path, finding, "check the export, or say clip: 10 in the source's declaration", field="unit")


def _offset_advice(low: float, base: float | None) -> str:
    """What to declare where the lowest value is the logarithm of a usual offset."""
    usual = () if base is None else _USUAL_OFFSETS
    fits = next((offset for offset in usual if abs(low - math.log(offset, base or 2.0)) < 0.01), None)
    return _ADVICE if fits is None else f"say offset: {fits:g}, of which the lowest value is the logarithm"
