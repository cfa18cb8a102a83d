"""Suppression of small cells at the site, and of what would let them be worked out."""

from typing import Any

from foundation.errors import UserError
from foundation.federation.statistics.contract import (
    Cells,
    Count,
    Counts,
    Expression,
    Known,
    Numbers,
    Record,
    SiteStatistics,
    Stain,
    Survival,
)
from foundation.statistics.suppression import hide, is_small


def suppress(statistics: SiteStatistics, min_cell: int) -> SiteStatistics:
    """What may leave: no count from 1 up to the cell size, and no mean of fewer patients than that.

    Zeros stay. A modality, a label and events are told where enough have them and enough, or none, have not. Where
    small cells could be worked out from sums that are told, further cells are withheld (complementary suppression).
    Of genes, columns and images only the patients behind them count: of how many a value is missing can be worked out.

    Args:
        statistics: of one site.
        min_cell: smallest number of patients that may be told.

    Raises:
        UserError: if the cell size is below 1, or the statistics are of several sites.
    """
    if min_cell < 1:
        raise UserError(f"min_cell: {min_cell} found; give 1 (nothing is withheld) or more")
    if len(statistics.sites) > 1 and statistics.withheld:
        raise UserError("statistics: pooled ones were suppressed at their sites already; suppress each site's own")
    sections: dict[str, Any] = {
        "counts": statistics.counts and _counts(statistics.counts, min_cell),
        "expression": statistics.expression and _expression(statistics.expression, min_cell),
        "stain": statistics.stain and _stain(statistics.stain, min_cell),
        "record": statistics.record and _record(statistics.record, min_cell),
        "survival": statistics.survival and _survival(statistics.survival, min_cell),
    }
    site = ", ".join(statistics.sites)
    withheld = [f"{site}: {cell}" for name, part in sections.items() if part for cell in _missing(name, part)]
    return statistics.model_copy(update={**sections, "withheld": withheld})


def _missing(path: str, part: Any) -> list[str]:
    """Paths of what is None; genes are counted rather than named."""
    if isinstance(part, Expression):
        genes = sum(count is None for count in part.count)
        return [f"{path}/{genes} genes"] if genes else []
    if isinstance(part, Numbers | Known | Stain) and all(value is None for value in vars(part).values()):
        return [path]
    if isinstance(part, Counts) and not part.combination:
        return [f"{path}/combination", *_missing(path, {**vars(part), "combination": {"": 0}})]
    fields = part if isinstance(part, dict) else vars(part)
    paths: list[str] = []
    for name, value in fields.items():
        if value is None:
            paths.append(f"{path}/{name}")
        elif isinstance(value, dict | Counts | Known | Numbers | Record | Survival):
            paths += _missing(f"{path}/{name}", value)
    return paths


def _count(count: Count, least: int) -> Count:
    return None if is_small(count, least) else count


def _counts(counts: Counts, least: int) -> Counts:
    patients = _count(counts.patients, least)
    if patients is None:
        return Counts(
            patients=None,
            modality=dict.fromkeys(counts.modality),
            combination={},
            label={name: Known(known=None, positive=None) for name in counts.label},
            hospital=dict.fromkeys(counts.hospital),
        )
    modality = {
        name: _label(Known(known=patients, positive=value), least).positive for name, value in counts.modality.items()
    }
    return Counts(
        patients=patients,
        modality=modality,
        combination=_combinations(counts.combination, modality, least),
        label={name: _label(known, least) for name, known in counts.label.items()},
        hospital=hide(counts.hospital, [set(counts.hospital)], least) or dict.fromkeys(counts.hospital),
    )


def _combinations(cells: Cells, modality: Cells, least: int) -> Cells:
    """Cells of the table that has all patients and, where they are told, the patients of a modality as its sums."""
    sums = [set(cells)]
    for name, count in modality.items():
        if count is not None:
            having = {cell for cell in cells if name in cell.split("+")}
            sums += [having, set(cells) - having]
    return hide(cells, sums, least)


def _label(label: Known, least: int) -> Known:
    known = _count(label.known, least)
    if known is None or label.known is None or label.positive is None:
        return Known(known=known, positive=None)
    split = is_small(label.positive, least) or is_small(label.known - label.positive, least)
    return Known(known=known, positive=None if split else label.positive)


def _expression(expression: Expression, least: int) -> Expression:
    hidden = [is_small(count, least) for count in expression.count]

    def kept(values: list[Any]) -> list[Any]:
        return [None if small else value for value, small in zip(values, hidden, strict=True)]

    return expression.model_copy(update={name: kept(getattr(expression, name)) for name in ("count", "mean", "m2")})


def _stain(stain: Stain, least: int) -> Stain:
    if not is_small(stain.patients, least):
        return stain
    return Stain(patients=None, images=None, pixels=None, mean=None, m2=None)


def _numbers(numbers: Numbers, least: int) -> Numbers:
    return Numbers(count=None, mean=None, m2=None) if is_small(numbers.count, least) else numbers


def _record(record: Record, least: int) -> Record:
    return Record(
        patients=_count(record.patients, least),
        numbers={name: _numbers(numbers, least) for name, numbers in record.numbers.items()},
        levels={
            name: hide(cells, [set(cells)], least) or dict.fromkeys(cells) for name, cells in record.levels.items()
        },
    )


def _survival(survival: Survival, least: int) -> Survival:
    split = _label(Known(known=survival.time.count, positive=survival.events), least)
    return Survival(events=split.positive, time=_numbers(survival.time, least))
