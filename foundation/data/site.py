"""A hospital's files, read: tables keyed by patient, images still on disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.landmarks import Landmarks


@dataclass
class Site:
    """One hospital.

    Attributes:
        name: of the hospital.
        folder: where its files lie.
        patients: labels and survival, indexed by patient.
        tables: what there is besides, by the name of its source, indexed by patient.
        sources: by the same name, how it was declared, where packing needs that.
        files: by the same name, the file that was read, for messages; also of `patients`.
        landmarks: days after which nothing of a patient is read, where the cohort declares them.
        unread: names of those that could not be read, or not in all rows, which was noted.
    """

    name: str
    folder: Path
    patients: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    landmarks: Landmarks | None = None

    def only(self, patients: "pd.Index[str]", name: str | None = None) -> "Site":
        """The same with those patients alone, under another name if one is given."""
        tables = {key: table[table.index.isin(patients)] for key, table in self.tables.items()}
        kept = self.patients[self.patients.index.isin(patients)]
        return Site(name or self.name, self.folder, kept, tables, self.sources, self.files, self.unread, self.landmarks)
