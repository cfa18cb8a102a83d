"""Statistics of a site's own patients, taken where their data lie."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.federation.statistics.contract import (
    NAMES,
    Counts,
    Expression,
    Known,
    Numbers,
    Record,
    SiteStatistics,
    Stain,
    Survival,
)
from foundation.federation.statistics.moments import Moments, Spread
from foundation.modalities.pathology.stain_amounts import TISSUE

_CHUNK = 256  # profiles in memory


def site_statistics(
    cohort: Cohort, patients: Sequence[str], names: Iterable[str] = NAMES, images: int = 4, seed: int = 0
) -> SiteStatistics:
    """What a site can tell, before small cells are withheld; see `suppress`.

    Args:
        cohort: the site's view: no other hospital's file is opened.
        patients: those who train; a patient's values count once.
        names: of the statistics wanted.
        images: of pathology looked at a patient, drawn by seed and patient, so that it does not matter who is beside.
        seed: of that.

    Raises:
        UserError: if a name is unknown, or a patient is not in the cohort.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in NAMES]:
        raise UserError(f"statistics: '{unknown[0]}' is none; say some of {', '.join(NAMES)}")
    if strange := [name for name in patients if name not in cohort.patients.index]:
        raise UserError(f"{cohort.folder}: patient {strange[0]} is not in this cohort; take patients of its own")
    table = cohort.patients.loc[list(dict.fromkeys(patients))]
    sections: dict[str, Callable[[], Any]] = {
        "counts": lambda: _counts(cohort, table),
        "expression": lambda: _expression(cohort, table),
        "stain": lambda: _stain(cohort, table, images, seed),
        "record": lambda: _record(cohort, table),
        "survival": lambda: _survival(cohort, table),
    }
    return SiteStatistics(sites=list(cohort.hospitals), **{name: sections[name]() for name in wanted})


def _counts(cohort: Cohort, table: pd.DataFrame) -> Counts:
    has = table[cohort.modalities].astype(bool)
    combination = [combination_name(cohort.modalities, row) for row in has.to_numpy()]
    labels = {
        label: Known(known=int(table[label].notna().sum()), positive=int((table[label] > 0).sum()))
        for label in cohort.dictionary.labels
    }
    return Counts(
        patients=len(table),
        modality={name: int(has[name].sum()) for name in cohort.modalities},
        combination=_tally(combination),
        label=labels,
        hospital={name: int((table["hospital"] == name).sum()) for name in cohort.hospitals},
    )


def combination_name(modalities: Sequence[str], present: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Of those modalities that a patient has, in their order."""
    return "+".join(name for name, has in zip(modalities, present, strict=True) if has)


def _tally(values: Iterable[str]) -> dict[str, Any]:
    counts = pd.Series(list(values), dtype=object).value_counts()
    return {str(name): int(counts[name]) for name in sorted(counts.index)}


def _expression(cohort: Cohort, table: pd.DataFrame) -> Expression | None:
    genes = list(cohort.dictionary.genes)
    measured = list(table.index[table["genomics"].astype(bool)])
    if not genes or not measured:
        return None
    total = Moments.of(np.empty((0, len(genes))))
    for start in range(0, len(measured), _CHUNK):
        rows = [
            cohort.sample(patient, ["genomics"])["genomics"]["expression"]
            for patient in measured[start : start + _CHUNK]
        ]
        total = total.merge(Moments.of(np.stack(rows)))
    return Expression(
        unit=cohort.dictionary.expression_unit,
        genes=genes,
        count=[int(value) for value in total.count],
        mean=total.mean.tolist(),
        m2=total.m2.tolist(),
    )


def _stain(cohort: Cohort, table: pd.DataFrame, images: int, seed: int) -> Stain | None:
    """None where the cohort holds no pictures: features have no stain."""
    total, patients, drawn = Spread(0.0, np.zeros(3), np.zeros((3, 3))), 0, 0
    for patient in table.index[table["pathology"].astype(bool)]:
        stored = cohort.sample(patient, ["pathology"])["pathology"]
        if stored.dtype != np.uint8:
            continue
        generator = np.random.default_rng([seed, *str(patient).encode()])
        kept = np.sort(generator.permutation(len(stored))[:images])
        for picture in stored.rows(kept):
            total = total.merge(Spread.of(tissue_density(picture)))
        patients, drawn = patients + 1, drawn + len(kept)
    if not patients:
        return None
    return Stain(
        patients=patients, images=drawn, pixels=int(total.count), mean=total.mean.tolist(), m2=total.m2.tolist()
    )


def tissue_density(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Optical density to base 10 of the pixels that show tissue.

    Args:
        picture: RGB `[height, width, 3]`.

    Returns:
        `[pixels, 3]`; black counts as the darkest grey.
    """
    density = -np.log10(np.maximum(picture.reshape(-1, 3), 1).astype(np.float64) / 255)
    return np.asarray(density[density.mean(axis=1) >= TISSUE])


def _record(cohort: Cohort, table: pd.DataFrame) -> Record | None:
    recorded = list(table.index[table["record"].astype(bool)])
    if not cohort.dictionary.record or not recorded:
        return None
    values = [cohort.sample(patient, ["record"])["record"] for patient in recorded]
    numbers, levels = {}, {}
    for column in cohort.dictionary.record:
        known = [value for row in values if _is_known(value := row.get(column.name))]
        if column.kind == "continuous":
            numbers[column.name] = _numbers(known)
        else:
            tally = _tally(map(str, known))
            levels[column.name] = {level: tally.get(level, 0) for level in column.values} | tally
    return Record(patients=len(recorded), numbers=numbers, levels=levels)


def _is_known(value: Any) -> bool:
    return value is not None and value == value  # NaN is unknown, too


def _numbers(values: Iterable[float]) -> Numbers:
    moments = Moments.of(np.array([float(value) for value in values]).reshape(-1, 1))
    return Numbers(count=int(moments.count[0]), mean=float(moments.mean[0]), m2=float(moments.m2[0]))


def _survival(cohort: Cohort, table: pd.DataFrame) -> Survival | None:
    if not cohort.dictionary.survival:
        return None
    event, time = (cohort.dictionary.survival[key] for key in ("event", "time"))
    known = table[table[[event, time]].notna().all(axis=1)]
    return Survival(events=int(known[event].sum()), time=_numbers(known[time]))
