"""What a prepared cohort was made from, as digests: `growth.parquet`, by which the next preparation knows what changed.

It holds no name of a file and no value: by hospital's folder, source and patient (as packed) 64 bits over what the
patient has there, and for files 64 more over their names, sizes and times, so that they are read again where those
differ alone. In the file's metadata stand the settings that the cohort was prepared under, and a digest of each file.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foundation.errors import UserError
from foundation.files import replacing

FILE = "growth.parquet"
EVERYBODY = ""  # stands for all patients of a folder: a digest of the whole file
_FORMAT = 1
_META = b"consilium"

Prints = dict[tuple[str, str], pd.DataFrame]  # by folder and source: uint64 `digest` and `stat`, indexed by patient


@dataclass
class State:
    """Digests of a prepared cohort.

    Attributes:
        settings: digest of all but the files themselves that the packed form depends on.
        prints: of what each patient has in each source.
        files: SHA-256 of every packed file, by its path in the cohort's folder.
    """

    settings: str
    prints: Prints = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes it into a prepared cohort's folder."""
        parts = [
            frame.assign(place=place, source=source).rename_axis("patient").reset_index()
            for (place, source), frame in sorted(self.prints.items())
        ]
        columns = ["place", "source", "patient", "digest", "stat"]
        whole = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
        table = pa.Table.from_pandas(whole, preserve_index=False)
        facts = {"format": _FORMAT, "settings": self.settings, "files": self.files}
        with replacing(folder / FILE) as temporary:
            pq.write_table(table.replace_schema_metadata({_META: json.dumps(facts)}), temporary)

    @classmethod
    def read(cls, folder: Path) -> "State":
        """That of a prepared cohort.

        Raises:
            UserError: if it was prepared by a release that wrote none, or the file is damaged.
        """
        path = folder / FILE
        advice = "overwrite=true prepares the cohort anew"
        if not path.is_file():
            raise UserError(f"{path}: missing, so nobody knows what changed since; {advice}")
        try:
            table = pq.read_table(path)
            facts = json.loads(table.schema.metadata[_META])
            settings, files, version = facts["settings"], facts["files"], facts["format"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not readable ({error}); {advice}") from error
        if version != _FORMAT:
            raise UserError(f"{path}: of another release; {advice}")
        frame = table.to_pandas()
        prints = {
            (str(place), str(source)): part.set_index("patient")[["digest", "stat"]]
            for (place, source), part in frame.groupby(["place", "source"], sort=False)
        }
        return cls(settings, prints, files)


def frame_of(digests: "dict[str, int]", stats: "dict[str, int] | None" = None) -> pd.DataFrame:
    """Prints of one source, from plain numbers by patient; a `stat` that is not known is 0."""
    index = pd.Index(list(digests), dtype=object)
    stat = np.array([(stats or {}).get(key, 0) for key in digests], np.uint64)
    return pd.DataFrame({"digest": np.array(list(digests.values()), np.uint64), "stat": stat}, index)


def differing(now: pd.DataFrame, before: pd.DataFrame | None, column: str = "digest") -> "pd.Index[str]":
    """Patients whose digest is new, another than before, or gone."""
    if before is None or not len(before):
        return now.index
    at = before.index.get_indexer(now.index)
    same = (at >= 0) & (before[column].to_numpy()[at] == now[column].to_numpy())
    return now.index[~same].append(before.index.difference(now.index))
