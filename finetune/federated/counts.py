"""Counts of targets as arrays of a fixed shape, which hospitals add up: patients by value, from 0 on."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.heads.base import Head, Moments, TargetCounts
from foundation.errors import UserError

COUNTS = "targets"
_SLOTS = 64  # values 0 to 63; the patients of any other value are counted in a slot of their own
_PATIENTS = "patients"
_MODALITY = "modality."
_MOMENTS = "moments."


def count_shapes(head: Head, modalities: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The arrays that tell a head's counts, and those of patients by modality."""
    empty = head.count({name: np.zeros(0) for name in head.targets})
    has = [f"{_MODALITY}{name}" for name in modalities]
    moments = {f"{_MOMENTS}{name}": (len(Moments._fields),) for name in empty.moments}
    return {_PATIENTS: (1,), **dict.fromkeys(has, (1,)), **dict.fromkeys(empty.by_target, (_SLOTS + 1,)), **moments}


def count_slots(counts: TargetCounts, by_modality: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """A hospital's counts as arrays, those of whole numbers, and sums of quantities."""
    arrays: dict[str, NDArray[Any]] = {_PATIENTS: np.array([counts.patients], dtype=np.int64)}
    for name, patients in by_modality.items():
        arrays[f"{_MODALITY}{name}"] = np.array([patients], dtype=np.int64)
    for name, by_value in counts.by_target.items():
        arrays[name] = np.zeros(_SLOTS + 1, dtype=np.int64)
        for value, patients in by_value.items():
            slot = int(value) if float(value).is_integer() and 0 <= value < _SLOTS else _SLOTS
            arrays[name][slot] += patients
    for name, moments in counts.moments.items():
        arrays[f"{_MOMENTS}{name}"] = np.array(moments, dtype=np.float64)
    return arrays


def counts_of(arrays: dict[str, NDArray[Any]]) -> TargetCounts:
    """The way back, from a total.

    Raises:
        UserError: if a target has values that are no class.
    """
    by_target = {}
    for name, cells in arrays.items():
        if name == _PATIENTS or name.startswith((_MODALITY, _MOMENTS)):
            continue
        if cells[_SLOTS]:
            raise UserError(
                f"task.head: '{name}' has values that are no whole number from 0 to {_SLOTS - 1} at a hospital; "
                "classes are written as such"
            )
        by_target[name] = {float(value): round(float(cells[value])) for value in np.flatnonzero(cells)}
    moments = {
        name.removeprefix(_MOMENTS): Moments(*map(float, sums))
        for name, sums in arrays.items()
        if name.startswith(_MOMENTS)
    }
    return TargetCounts(round(float(arrays[_PATIENTS][0])), by_target, moments)


def modalities_of(arrays: dict[str, NDArray[Any]]) -> dict[str, int]:
    """Patients by modality, from a total."""
    counted = {name: cells for name, cells in arrays.items() if name.startswith(_MODALITY)}
    return {name.removeprefix(_MODALITY): round(float(cells[0])) for name, cells in counted.items()}
