"""Figures of a federated evaluation: everybody, each hospital, a new hospital, and subgroups, from tables alone."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from finetune.statistics.base import Measure, Tables, TaskStatistics
from foundation.statistics.figure import HOSPITAL_BOOTSTRAP, PATIENT_BOOTSTRAP, Figure, Support
from foundation.statistics.hospitals import hospital_bootstrap

ALL = "all"


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
    groups = {name: _figures(statistics, tables, support) for name, tables in total.items()}
    content: dict[str, Any] = {"overall": groups.pop(ALL), "groups": groups}
    content["curves"] = statistics.curves(total[ALL])
    content["by_hospital"] = {site: _figures(statistics, tables[ALL], support) for site, tables in by_site.items()}
    if len(by_site) >= support.hospitals:
        content["new_hospital"] = _new_hospital(statistics, by_site, replicates, seed, support)
    return content


def _figures(statistics: TaskStatistics, tables: Tables, support: Support) -> dict[str, Any]:
    measures = statistics.measures(tables, support)
    return {name: asdict(_figure(measure, support, PATIENT_BOOTSTRAP)) for name, measure in measures.items()}


def _new_hospital(
    statistics: TaskStatistics,
    by_site: Mapping[str, Mapping[str, Tables]],
    replicates: int,
    seed: int,
    support: Support,
) -> dict[str, Any]:
    """The interval that a hospital which was not there may expect: hospitals are drawn, with all their patients."""
    names = list(next(iter(by_site.values()))[ALL])
    drawn: Tables = {
        name: hospital_bootstrap([tables[ALL][name] for tables in by_site.values()], replicates, seed) for name in names
    }
    measures = statistics.measures(drawn, support)
    return {name: asdict(_figure(measure, support, HOSPITAL_BOOTSTRAP)) for name, measure in measures.items()}


def _figure(measure: Measure, support: Support, interval: str) -> Figure:
    return measure.figure(support, measure.values, interval)
