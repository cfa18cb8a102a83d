"""The base of a modality's preparation: from a hospital's files into a prepared cohort."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from rich.progress import Progress

from foundation.data.declaration import Declaration
from foundation.data.dictionary import DataDictionary
from foundation.data.packages import modules
from foundation.data.problems import Problems
from foundation.data.site import Site
from foundation.data.storage import Storage
from foundation.data.table_rows import ByRows, table_by_rows
from foundation.data.tables import TableSource


@dataclass(frozen=True)
class Packing:
    """One hospital, about to be packed.

    Attributes:
        site: read and checked.
        declaration: of the cohort.
        dictionary: of the cohort, its genes named.
        names: patient → the id under which they are packed.
        order: patients in the order of those ids: the hospital's own order could tell who is who.
        output: folder of the hospital in the prepared cohort.
        cache: folder that outlives a killed run, so that it need not begin anew.
        workers: processes to use.
        problems: takes warnings.
    """

    site: Site
    declaration: Declaration
    dictionary: DataDictionary
    names: dict[str, str]
    order: "pd.Index[str]"
    output: Path
    cache: Path
    workers: int
    problems: Problems


class Preparation(ABC):
    """Reading, checking and packing of one modality.

    Attributes:
        storage: of the modality; names it.
        sources: fields that it has under `sources` in `cohort.yaml`, with their types.
        after: modalities that are read before, for it is made from them.
    """

    storage: ClassVar[Storage]
    sources: ClassVar[Mapping[str, Any]]
    after: ClassVar[tuple[str, ...]] = ()

    def approve(self, dictionary: DataDictionary, path: Path) -> DataDictionary:
        """The dictionary with what it says of this modality in its canonical form.

        Raises:
            DataError: where that cannot be; `path` is the declaration's.
        """
        return dictionary

    def complete(self, dictionary: DataDictionary, sites: list[Site]) -> DataDictionary:
        """The dictionary with what follows from all hospitals' files."""
        return dictionary

    def facts(self) -> dict[str, Any]:
        """What `cohort.json` says of it besides."""
        return {}

    @abstractmethod
    def usual(self, folder: Path, field: str) -> Any:
        """A source for what lies in the usual place of a hospital's folder; None where nothing does.

        Raises:
            DataError: if one place holds two files of the same thing.
        """

    @abstractmethod
    def read(self, site: Site, places: Mapping[str, Any], declaration: Declaration, problems: Problems) -> None:
        """Adds its tables to a hospital; what cannot be read is noted and left out.

        Args:
            site: patients, and what was read before.
            places: by field of `sources`, where it lies.
            declaration: of the cohort.
            problems: takes what is wrong.
        """

    def by_rows(self, source: Any, folder: Path) -> ByRows | None:
        """How a source's file is cut by patient, where each of its rows belongs to one."""
        return table_by_rows(source, folder) if isinstance(source, TableSource) else None

    @abstractmethod
    def patients(self, site: Site) -> "pd.Index[str]":
        """Who has it."""

    def counts(self, site: Site) -> dict[str, int]:
        """What is counted besides who has it, for reports."""
        return {}

    def check(self, site: Site, declaration: Declaration, problems: Problems) -> None:  # noqa: B027 (nothing to check)
        """What one hospital's tables can have wrong by themselves."""

    def check_together(  # noqa: B027 (nothing to check)
        self, sites: list[Site], declaration: Declaration, problems: Problems, bars: Progress, images: bool
    ) -> None:
        """What only a look at all hospitals, or into every file, can tell.

        Args:
            sites: as read.
            declaration: of the cohort.
            problems: takes what is wrong.
            bars: shows how far it got.
            images: whether every image is opened.
        """

    @abstractmethod
    def pack(self, packing: Packing) -> pd.DataFrame:
        """Writes a hospital's values.

        Returns:
            Columns of the patients' table, indexed by `packing.order`: the modality's name says who has it.

        Raises:
            DataError: on the first value that cannot be used.
        """


@cache
def preparations() -> dict[str, Preparation]:
    """Every modality's, by name, in order."""
    each: list[Preparation] = [module.PREPARATION for module in modules("preparation").values()]
    return {one.storage.name: one for one in sorted(each, key=lambda one: one.storage.order)}


def in_reading_order() -> list[Preparation]:
    """Every modality's, none before those that it is made from."""
    each = preparations()
    return [each[name] for name in TopologicalSorter({name: one.after for name, one in each.items()}).static_order()]


def mentioned(sites: list[Site]) -> list[Preparation]:
    """Those that reports and the prepared cohort tell of: the core ones, and whatever else a hospital has."""
    return [one for one in preparations().values() if one.storage.core or any(len(one.patients(s)) for s in sites)]


def who_has(site: Site, each: list[Preparation]) -> pd.DataFrame:
    """Bool `[patients, modalities]`."""
    index = site.patients.index
    return pd.DataFrame({one.storage.name: index.isin(one.patients(site)) for one in each}, index)
