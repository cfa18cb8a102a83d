"""Statistics of sites and of all together, as a page of Markdown for people."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from foundation.federation.statistics.contract import Count, Numbers, SiteStatistics
from foundation.federation.statistics.pooling import gene_moments
from foundation.federation.statistics.use import stain_reference

_LEGEND = """Counts, means and spreads; no value of a patient left a site. `–`: not asked for, or not held;
`small`: withheld at the site, for few patients are behind it; `≥`: at least so many, for a site withheld its part."""
_GENES = 10  # shown, those that differ most between sites

Of = Callable[[SiteStatistics], str]
Rows = list[tuple[str, Of]]


def statistics_page(parts: Sequence[SiteStatistics], pooled: SiteStatistics) -> str:
    """The page, `statistics.md`.

    Args:
        parts: of each site, as they came.
        pooled: of all of them.
    """
    sections = [("Patients", _counts(pooled)), ("Clinical record", _record(pooled)), ("Follow-up", _survival())]
    sections += [("Expression", _expression(parts, pooled)), ("Stain", _stain())]
    lines = ["# Statistics of the sites", "", _LEGEND, ""]
    columns = [*parts, pooled]
    for (title, rows), name in zip(sections, ("counts", "record", "survival", "expression", "stain"), strict=True):
        if getattr(pooled, name) is not None:
            lines += [f"## {title}", "", *_table(columns, rows), ""]
    if pooled.expression is not None:
        lines += [f"Mean ± standard deviation, in {pooled.expression.unit}: genes whose means differ most.", ""]
    if pooled.stain is not None:
        lines += ["Optical density to base 10 of tissue, and amounts of stain (Ruifrok and Johnston 2001).", ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(columns: Sequence[SiteStatistics], rows: Rows) -> list[str]:
    heads = [_escape(", ".join(column.sites)) for column in columns[:-1]] + ["**pooled**"]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(columns)}"]
    for title, of in rows:
        lines.append(f"| {_escape(title)} | {' | '.join(map(of, columns))} |")
    return lines


def _counts(pooled: SiteStatistics) -> Rows:
    counts = pooled.counts
    if counts is None:
        return []
    rows: Rows = [("patients", _cell("counts/patients"))]
    rows += [(f"with {name}", _cell(f"counts/modality/{name}")) for name in counts.modality]
    rows += [
        (f"{name.replace('+', ' + ') or 'nothing'}, no others", _cell(f"counts/combination/{name}"))
        for name in counts.combination
    ]
    for label in counts.label:
        rows.append((f"{label} known", _cell(f"counts/label/{label}/known")))
        rows.append((f"{label} positive", _cell(f"counts/label/{label}/positive")))
    return rows


def _record(pooled: SiteStatistics) -> Rows:
    record = pooled.record
    if record is None:
        return []
    rows: Rows = [("with a record", _cell("record/patients"))]
    for name in record.numbers:
        rows.append((f"{name}, mean ± sd", _numbers(f"record/numbers/{name}")))
        rows.append((f"{name} missing", _missing(name)))
    for name, levels in record.levels.items():
        rows += [(f"{name} {level}", _cell(f"record/levels/{name}/{level}")) for level in levels]
    return rows


def _survival() -> Rows:
    return [
        ("followed", _cell("survival/time/count")),
        ("events", _cell("survival/events")),
        ("time, mean ± sd", _numbers("survival/time")),
        ("events per 1000 of time", _event_rate),
    ]


def _expression(parts: Sequence[SiteStatistics], pooled: SiteStatistics) -> Rows:
    if pooled.expression is None:
        return []
    genes = pooled.expression.genes
    moments = [gene_moments(part.expression, genes) for part in parts if part.expression is not None]
    means = np.array([np.where(part.count > 0, part.mean, np.nan) for part in moments])
    seen = (~np.isnan(means)).sum(axis=0)
    apart = np.where(seen > 1, np.nanmax(means, axis=0, initial=-np.inf) - np.nanmin(means, axis=0, initial=np.inf), 0)
    chosen = [genes[index] for index in np.argsort(-apart, kind="stable")[:_GENES]]
    return [("genes known", _genes_known), *((gene, _gene(gene)) for gene in chosen)]


def _stain() -> Rows:
    rows: Rows = [(f"{name}", _cell(f"stain/{name}")) for name in ("patients", "images", "pixels")]
    rows += [(f"density in {name}, mean ± sd", _density(at)) for at, name in enumerate(("red", "green", "blue"))]
    return rows + [(f"{name}, mean ± sd", _amount(at)) for at, name in enumerate(("haematoxylin", "eosin", "residual"))]


def _cell(path: str) -> Of:
    """A count, found by its path."""
    section, *inner = path.split("/", 3)

    def of(statistics: SiteStatistics) -> str:
        value: Any = getattr(statistics, section)
        if value is None:
            return "–"
        whole = not _withheld(path, statistics)
        for name in inner:
            value = value.get(name, 0 if whole else None) if isinstance(value, dict) else getattr(value, name)
        return _count(value, path, statistics)

    return of


def _count(value: Count, path: str, statistics: SiteStatistics) -> str:
    if value is None:
        return "small"
    return f"≥ {value:,}" if _withheld(path, statistics) else f"{value:,}"


def _withheld(path: str, statistics: SiteStatistics) -> bool:
    """Whether a site withheld this cell, or the whole table that it is in."""
    places = (cell.rpartition(": ")[2] for cell in statistics.withheld)
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _at(statistics: SiteStatistics, path: str) -> Numbers | None:
    section, *inner = path.split("/", 2)
    value: Any = getattr(statistics, section)
    for name in inner:
        if value is not None:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name)
    return value if isinstance(value, Numbers) else None


def _numbers(path: str) -> Of:
    def of(statistics: SiteStatistics) -> str:
        numbers = _at(statistics, path)
        if numbers is None:
            return "–"
        return "small" if numbers.count is None else _mean_and_spread(numbers.count, numbers.mean, numbers.m2)

    return of


def _missing(name: str) -> Of:
    def of(statistics: SiteStatistics) -> str:
        record = statistics.record
        if record is None or name not in record.numbers:
            return "–"
        known = record.numbers[name].count
        return "small" if known is None or record.patients is None else _share(record.patients - known, record.patients)

    return of


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _event_rate(statistics: SiteStatistics) -> str:
    survival = statistics.survival
    if survival is None or not survival.time.mean or not survival.time.count:
        return "–"
    if survival.events is None:
        return "small"
    return f"{1000 * survival.events / (survival.time.mean * survival.time.count):.3g}"


def _genes_known(statistics: SiteStatistics) -> str:
    expression = statistics.expression
    return "–" if expression is None else f"{sum(bool(count) for count in expression.count):,}"


def _gene(gene: str) -> Of:
    def of(statistics: SiteStatistics) -> str:
        if statistics.expression is None or gene not in statistics.expression.genes:
            return "–"
        at = statistics.expression.genes.index(gene)
        count, mean, m2 = (getattr(statistics.expression, name)[at] for name in ("count", "mean", "m2"))
        return "small" if count is None else _mean_and_spread(count, mean, m2)

    return of


def _density(at: int) -> Of:
    def of(statistics: SiteStatistics) -> str:
        stain = statistics.stain
        if stain is None or stain.mean is None or stain.m2 is None:
            return "–" if stain is None else "small"
        return _mean_and_spread(stain.pixels or 0, stain.mean[at], stain.m2[at][at])

    return of


def _amount(at: int) -> Of:
    def of(statistics: SiteStatistics) -> str:
        stain = statistics.stain
        if stain is None or stain.mean is None or (stain.pixels or 0) < 2:
            return "–" if stain is None else "small"
        reference = stain_reference(statistics)
        return f"{reference['mean'][at]:.3f} ± {reference['spread'][at]:.3f}"

    return of


def _mean_and_spread(count: int, mean: float | None, m2: float | None) -> str:
    if not count or mean is None or m2 is None:
        return "–"
    spread = math.sqrt(m2 / (count - 1)) if count > 1 else math.nan
    return f"{mean:.4g} ± {spread:.3g}" if count > 1 else f"{mean:.4g}"


def _escape(text: str) -> str:
    return "".join(f"\\{character}" if character in "|*_`\\[]<" else character for character in text)
