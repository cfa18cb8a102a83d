"""A cohort as it was prepared before, and what its folders hold beside that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.dictionary import DataDictionary, read_prepared
from foundation.data.growth.state import Prints, State
from foundation.data.problems import Problems
from foundation.data.site import Site


@dataclass(frozen=True)
class Earlier:
    """A cohort as it was prepared before.

    Attributes:
        folder: of it.
        content: of its `cohort.json`.
        state: digests of what it was made from.
        tables: patients by hospital.
    """

    folder: Path
    content: dict[str, Any]
    state: State
    tables: dict[str, pd.DataFrame]

    @classmethod
    def read(cls, folder: Path) -> "Earlier":
        """Reads its tables; packed values stay where they are.

        Raises:
            UserError: if it was not written by `prepare`, or cannot grow.
        """
        content, state = read_prepared(folder), State.read(folder)
        tables = {name: pd.read_parquet(folder / name / "patients.parquet") for name in content["hospitals"]}
        return cls(folder, content, state, tables)

    def hospital_of(self, name: str) -> pd.DataFrame:
        """A hospital's patients; none where it was not there."""
        return self.tables.get(name, next(iter(self.tables.values())).iloc[:0])


@dataclass
class Growth:
    """What a cohort's folders hold beside what was prepared from them.

    Attributes:
        sites: what had to be read, by hospital; only patients who are packed anew.
        members: all patients of each hospital, as packed.
        fresh: by hospital and modality (and `patients`), whom of them is packed anew.
        prints: digests of all that there is.
        dictionary: of the cohort.
        problems: takes warnings.
        read_whole: why all tables were read; None where the parts that changed were enough.
    """

    sites: dict[str, Site]
    members: dict[str, list[str]]
    fresh: dict[str, dict[str, set[str]]]
    prints: Prints
    dictionary: DataDictionary
    problems: Problems
    read_whole: str | None

    def counts(self, earlier: Earlier) -> dict[str, int]:
        """Patients who are new, who changed, and who are gone."""
        counts = {"new": 0, "changed": 0, "withdrawn": 0}
        for hospital in {**self.members, **earlier.tables}:
            before, now = earlier.hospital_of(hospital).index, pd.Index(self.members.get(hospital, ()), dtype=object)
            packed = set[str]().union(*self.fresh.get(hospital, {}).values())
            stayed = now[before.get_indexer(now) >= 0]
            stay = len(stayed)
            counts["new"] += len(now) - stay
            counts["changed"] += int(stayed.isin(packed).sum())
            counts["withdrawn"] += len(before) - stay
        return counts
