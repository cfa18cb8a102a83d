"""The page of statistics, of each site and of all together, in Markdown for people."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel

from foundation.federation.statistics.contract import Count, SiteStatistics
from foundation.federation.statistics.pooling import gene_moments
from foundation.federation.statistics.use import stain_reference

_LEGEND = """Counts, means and spreads; no value of a patient left a site. `–`: not asked for, or not held;
`small`: withheld at the site, for few patients are behind it; `≥`: at least so many, for a site withheld its part."""
_NONE, _SMALL = "–", "small"
_GENES = 10  # shown, those that differ most between sites

Rows = list[tuple[str, Callable[[SiteStatistics], str]]]


def statistics_page(parts: Sequence[SiteStatistics], pooled: SiteStatistics) -> str:
    """The page, `statistics.md`.

    Args:
        parts: of each site, as they came.
        pooled: of all of them.
    """
    sections = {
        "Patients": _counts(pooled),
        "Clinical record": _record(pooled),
        "Follow-up": _SURVIVAL if pooled.survival else [],
        "Expression": _expression(parts, pooled),
        "Stain": _STAIN if pooled.stain else [],
    }
    heads = [*(_escape(", ".join(part.sites)) for part in parts), "**pooled**"]
    lines = ["# Statistics of the sites", "", _LEGEND, ""]
    for title, rows in sections.items():
        if rows:
            lines += [f"## {title}", "", f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
            lines += [f"| {_escape(name)} | {' | '.join(map(cell, [*parts, pooled]))} |" for name, cell in rows] + [""]
    if pooled.expression is not None:
        lines += [f"Mean ± standard deviation, in {pooled.expression.unit}: genes whose means differ most.", ""]
    if pooled.stain is not None:
        lines += ["Optical density to base 10 of tissue, and amounts of stain (Ruifrok and Johnston 2001).", ""]
    return "\n".join(lines).rstrip() + "\n"


def _counts(pooled: SiteStatistics) -> Rows:
    counts = pooled.counts
    if counts is None:
        return []
    rows = [_count("patients", "counts", "patients")]
    rows += [_count(f"with {name}", "counts", "modality", name) for name in counts.modality]
    rows += [
        _count(f"{name.replace('+', ' + ') or 'nothing'}, no others", "counts", "combination", name)
        for name in counts.combination
    ]
    for label in counts.label:
        rows += [_count(f"{label} {kind}", "counts", "label", label, kind) for kind in ("known", "positive")]
    return rows


def _record(pooled: SiteStatistics) -> Rows:
    record = pooled.record
    if record is None:
        return []
    rows = [_count("with a record", "record", "patients")]
    for name in record.numbers:
        rows += [(f"{name}, mean ± sd", partial(_column, name)), (f"{name} missing", partial(_missing, name))]
    for name, levels in record.levels.items():
        rows += [_count(f"{name} {level}", "record", "levels", name, level) for level in levels]
    return rows


def _expression(parts: Sequence[SiteStatistics], pooled: SiteStatistics) -> Rows:
    if pooled.expression is None:
        return []
    genes = pooled.expression.genes
    moments = [gene_moments(part.expression, genes) for part in parts if part.expression is not None]
    means = np.array([np.where(part.count > 0, part.mean, np.nan) for part in moments])
    seen = (~np.isnan(means)).sum(axis=0)
    apart = np.where(seen > 1, np.nanmax(means, axis=0, initial=-np.inf) - np.nanmin(means, axis=0, initial=np.inf), 0)
    chosen = [genes[index] for index in np.argsort(-apart, kind="stable")[:_GENES]]
    return [("genes known", _genes_known), *((gene, partial(_gene, gene)) for gene in chosen)]


def _count(title: str, *path: str) -> tuple[str, Callable[[SiteStatistics], str]]:
    """A row of counts that lie at a path of names."""
    return title, partial(_cell, path)


def _cell(path: Sequence[str], statistics: SiteStatistics) -> str:
    value: Any = getattr(statistics, path[0])
    if value is None:
        return _NONE
    withheld = _withheld("/".join(path), statistics)
    for name in path[1:]:
        if isinstance(value, dict):
            value = value.get(name, None if withheld else 0)
        elif isinstance(value, BaseModel):
            value = getattr(value, name)
    return _SMALL if value is None else f"{'≥ ' if withheld else ''}{value:,}"


def _withheld(path: str, statistics: SiteStatistics) -> bool:
    """Whether a site withheld this cell, or the whole table that it is in."""
    places = (cell.rpartition(": ")[2] for cell in statistics.withheld)
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _column(name: str, statistics: SiteStatistics) -> str:
    numbers = statistics.record and statistics.record.numbers.get(name)
    return _mean_and_spread(numbers.count, numbers.mean, numbers.m2) if numbers else _NONE


def _missing(name: str, statistics: SiteStatistics) -> str:
    record = statistics.record
    if record is None or name not in record.numbers:
        return _NONE
    known = record.numbers[name].count
    if known is None or record.patients is None:
        return _SMALL
    return f"{(record.patients - known) / record.patients:.0%}" if record.patients else _NONE


def _follow_up(statistics: SiteStatistics) -> str:
    time = statistics.survival and statistics.survival.time
    return _mean_and_spread(time.count, time.mean, time.m2) if time else _NONE


def _event_rate(statistics: SiteStatistics) -> str:
    survival = statistics.survival
    if survival is None or not survival.time.mean or not survival.time.count:
        return _NONE
    if survival.events is None:
        return _SMALL
    return f"{1000 * survival.events / (survival.time.mean * survival.time.count):.3g}"


def _genes_known(statistics: SiteStatistics) -> str:
    expression = statistics.expression
    return _NONE if expression is None else f"{sum(bool(count) for count in expression.count):,}"


def _gene(gene: str, statistics: SiteStatistics) -> str:
    expression = statistics.expression
    if expression is None or gene not in expression.genes:
        return _NONE
    at = expression.genes.index(gene)
    return _mean_and_spread(expression.count[at], expression.mean[at], expression.m2[at])


def _density(at: int, statistics: SiteStatistics) -> str:
    stain = statistics.stain
    if stain is None or stain.mean is None or stain.m2 is None:
        return _NONE if stain is None else _SMALL
    return _mean_and_spread(stain.pixels or 0, stain.mean[at], stain.m2[at][at])


def _amount(at: int, statistics: SiteStatistics) -> str:
    stain = statistics.stain
    if stain is None or stain.mean is None or (stain.pixels or 0) < 2:
        return _NONE if stain is None else _SMALL
    reference = stain_reference(statistics)
    return f"{reference['mean'][at]:.3f} ± {reference['spread'][at]:.3f}"


def _mean_and_spread(count: Count, mean: float | None, m2: float | None) -> str:
    """Of a column; the three are withheld together."""
    if count is None or mean is None or m2 is None:
        return _SMALL
    if count > 1:
        return f"{mean:.4g} ± {math.sqrt(m2 / (count - 1)):.3g}"
    return f"{mean:.4g}" if count else _NONE


def _escape(text: str) -> str:
    return "".join(f"\\{character}" if character in "|*_`\\[]<" else character for character in text)


_SURVIVAL: Rows = [
    _count("followed", "survival", "time", "count"),
    _count("events", "survival", "events"),
    ("time, mean ± sd", _follow_up),
    ("events per 1000 of time", _event_rate),
]
_STAIN: Rows = [
    *(_count(name, "stain", name) for name in ("patients", "images", "pixels")),
    *((f"density in {name}, mean ± sd", partial(_density, at)) for at, name in enumerate(("red", "green", "blue"))),
    *((f"{name}, mean ± sd", partial(_amount, at)) for at, name in enumerate(("haematoxylin", "eosin", "residual"))),
]
