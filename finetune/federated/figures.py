"""Figures of a federated evaluation as JSON: everybody, each hospital, a new hospital, and subgroups."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from finetune.figures import Figures, figures_of_tables
from finetune.statistics.base import Tables, TaskStatistics
from finetune.statistics.binary import part_of
from finetune.statistics.reliability import ReliabilityStatistics
from foundation.statistics.figure import Support

ALL = "all"
SEPARATOR = "|"  # of group, table and field in the name of an array that travels
RELIABILITY = "reliability"  # begins the names of tables of how far answers can be relied on


def figures(
    statistics: TaskStatistics,
    total: Mapping[str, Tables],
    by_site: Mapping[str, Mapping[str, Tables]],
    replicates: int,
    seed: int,
    support: Support,
) -> dict[str, Any]:
    """All figures of an evaluation, as JSON holds them.

    Args:
        statistics: of the task's kind.
        total: by subgroup, the tables of all hospitals together.
        by_site: the same by hospital; empty where they are hidden.
        replicates: of the hospital bootstrap.
        seed: of its draws.
        support: below which a figure is none.
    """
    parts = {site: tables[ALL] for site, tables in by_site.items()}
    whole = figures_of_tables(statistics, total[ALL], support, parts, replicates, seed)
    content: dict[str, Any] = {
        "overall": _as_json(whole),
        "groups": {
            name: _as_json(figures_of_tables(statistics, tables, support))
            for name, tables in total.items()
            if name != ALL
        },
        "curves": whole.curves,
        "by_hospital": {
            site: _as_json(figures_of_tables(statistics, tables, support)) for site, tables in parts.items()
        },
    }
    if len(parts) >= support.hospitals:
        content["new_hospital"] = {name: asdict(whole.new_hospital(name)) for name in whole.measures}
    return content


def reliability(
    coverage: float, total: Mapping[str, Tables], by_site: Mapping[str, Mapping[str, Tables]], support: Support
) -> dict[str, Any]:
    """How far answers can be relied on, as `finetune.evaluate` writes it: overall, by hospital, by modality alone.

    Args:
        coverage: that regions are to have.
        total: by subgroup, the tables of all hospitals together.
        by_site: the same by hospital; empty where they are hidden.
        support: below which a figure is none.
    """
    statistics = ReliabilityStatistics(coverage)

    def row(tables: Tables) -> dict[str, Any]:
        answers = part_of(tables, RELIABILITY)
        patients = int(answers["answers"].counts[0, 0])
        return {"n": patients, **_as_json(figures_of_tables(statistics, answers, support))}

    told = {name: row(tables) for name, tables in total.items() if any(one.startswith(RELIABILITY) for one in tables)}
    return {
        "coverage": coverage,
        "overall": told.pop(ALL),
        "by_hospital": {site: row(tables[ALL]) for site, tables in by_site.items()},
        "by_modality": told,
        "curves": statistics.curves(part_of(total[ALL], RELIABILITY)),
    }


def _as_json(figures: Figures) -> dict[str, Any]:
    return {name: asdict(figures.figure(name)) for name in figures.measures}
