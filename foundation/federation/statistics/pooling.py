"""Pooling of several sites' statistics, as if their patients had been in one place."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TypeVar

import numpy as np

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
from foundation.federation.statistics.moments import Moments, Spread

T = TypeVar("T")


def pool(parts: Sequence[SiteStatistics]) -> SiteStatistics:
    """All of them together; a statistic is of the sites that told it.

    A withheld count is left out of its sum, so that the sum is the least that there can be; `withheld` names it.

    Raises:
        UserError: if there are none, a site is there twice, or expression has several units.
    """
    sites = [site for part in parts for site in part.sites]
    if not sites:
        raise UserError("statistics: no site told any; ask sites whose policy allows them")
    if twice := [site for site in sites if sites.count(site) > 1]:
        raise UserError(f"statistics: site {twice[0]} is there twice; pool each site once")
    return SiteStatistics(
        sites=sites,
        counts=_pooled([part.counts for part in parts], _counts),
        expression=_pooled([part.expression for part in parts], _expression),
        stain=_pooled([part.stain for part in parts], _stain),
        record=_pooled([part.record for part in parts], _record),
        survival=_pooled([part.survival for part in parts], _survival),
        withheld=[cell for part in parts for cell in part.withheld],
    )


def _pooled(parts: Iterable[T | None], merge: Callable[[T, T], T]) -> T | None:
    known = [part for part in parts if part is not None]
    return reduce(merge, known) if known else None


def _sum(one: Count, other: Count) -> Count:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _cells(one: Cells, other: Cells) -> Cells:
    return {name: _sum(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _counts(one: Counts, other: Counts) -> Counts:
    nobody = Known(known=0, positive=0)
    labels = {}
    for name in {**one.label, **other.label}:
        left, right = one.label.get(name, nobody), other.label.get(name, nobody)
        labels[name] = Known(known=_sum(left.known, right.known), positive=_sum(left.positive, right.positive))
    return Counts(
        patients=_sum(one.patients, other.patients),
        modality=_cells(one.modality, other.modality),
        combination=_cells(one.combination, other.combination),
        label=labels,
        hospital=_cells(one.hospital, other.hospital),
    )


def _expression(one: Expression, other: Expression) -> Expression:
    if one.unit != other.unit:
        raise UserError(
            f"statistics: expression in {one.unit} and in {other.unit}; prepare all sites' cohorts with one "
            "expression_unit in the data dictionary"
        )
    genes = list(dict.fromkeys([*one.genes, *other.genes]))
    left, right = (gene_moments(part, genes) for part in (one, other))
    both = left.merge(right)
    known = [count > 0 or _told_zero(gene, one, other) for gene, count in zip(genes, both.count, strict=True)]
    return Expression(
        unit=one.unit,
        genes=genes,
        count=[int(value) if shown else None for value, shown in zip(both.count, known, strict=True)],
        mean=[float(value) if shown else None for value, shown in zip(both.mean, known, strict=True)],
        m2=[float(value) if shown else None for value, shown in zip(both.m2, known, strict=True)],
    )


def _told_zero(gene: str, *parts: Expression) -> bool:
    return any(gene in part.genes and part.count[part.genes.index(gene)] == 0 for part in parts)


def gene_moments(part: Expression, genes: Sequence[str]) -> Moments:
    """Moments in the order of some genes; where a gene is unknown or withheld, its count is 0."""
    at = {gene: index for index, gene in enumerate(part.genes)}
    places = [at.get(gene) for gene in genes]

    def of(values: Sequence[float | None]) -> np.ndarray:
        return np.array([0.0 if place is None else values[place] or 0.0 for place in places])

    return Moments(of(part.count), of(part.mean), of(part.m2))


def _stain(one: Stain, other: Stain) -> Stain:
    both = _spread(one).merge(_spread(other))
    known = both.count > 0
    return Stain(
        patients=_sum(one.patients, other.patients),
        images=_sum(one.images, other.images),
        pixels=_sum(one.pixels, other.pixels),
        mean=both.mean.tolist() if known else None,
        m2=both.m2.tolist() if known else None,
    )


def _spread(stain: Stain) -> Spread:
    if stain.mean is None or stain.m2 is None or not stain.pixels:
        return Spread(0.0, np.zeros(3), np.zeros((3, 3)))
    return Spread(float(stain.pixels), np.array(stain.mean), np.array(stain.m2))


def _record(one: Record, other: Record) -> Record:
    nothing = Numbers(count=0, mean=0.0, m2=0.0)
    columns = {**one.numbers, **other.numbers}
    return Record(
        patients=_sum(one.patients, other.patients),
        numbers={name: _numbers(one.numbers.get(name, nothing), other.numbers.get(name, nothing)) for name in columns},
        levels={
            name: _cells(one.levels.get(name, {}), other.levels.get(name, {}))
            for name in {**one.levels, **other.levels}
        },
    )


def _survival(one: Survival, other: Survival) -> Survival:
    return Survival(events=_sum(one.events, other.events), time=_numbers(one.time, other.time))


def _numbers(one: Numbers, other: Numbers) -> Numbers:
    if one.count is None and other.count is None:
        return Numbers(count=None, mean=None, m2=None)
    both = _moments(one).merge(_moments(other))
    return Numbers(count=int(both.count[0]), mean=float(both.mean[0]), m2=float(both.m2[0]))


def _moments(numbers: Numbers) -> Moments:
    return Moments(*(np.array([float(value or 0)]) for value in (numbers.count, numbers.mean, numbers.m2)))
