"""Where each patient stood when the cohort was first prepared: what keeps the parts of every split as they were.

A split draws positions in a hospital's sorted list. In a cohort that grew, `places.parquet` holds for each patient the
position of that first list, so that the draw is the same one whoever came or left since; who came later has none.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foundation.errors import UserError
from foundation.files import replacing

FILE = "places.parquet"
LATER = -1
_META = b"consilium"


@dataclass(frozen=True)
class Places:
    """Positions in the first lists.

    Attributes:
        counts: patients of each hospital when it was first prepared.
        place: by hospital, position by patient.
    """

    counts: dict[str, int]
    place: "dict[str, pd.Series[int]]"

    @classmethod
    def first(cls, tables: "dict[str, pd.Index[str]]") -> "Places":
        """Those of a cohort that has not grown."""
        place = {name: pd.Series(range(len(index)), sorted(index)) for name, index in tables.items()}
        return cls({name: len(index) for name, index in tables.items()}, place)

    @classmethod
    def read(cls, folder: Path, grown: bool) -> "Places | None":
        """Those of a prepared cohort; None where it has not grown.

        Args:
            folder: of it.
            grown: whether it tells of growth, so that there must be some.

        Raises:
            UserError: if the file is damaged, or missing where the cohort has grown: all splits would be drawn anew.
        """
        path = folder / FILE
        if not path.is_file():
            if grown:
                raise UserError(f"{path}: missing, though the cohort has grown; restore it: splits depend on it")
            return None
        try:
            table = pq.read_table(path)
            counts = json.loads(table.schema.metadata[_META])
            frame = table.to_pandas()
            place = {str(name): part.set_index("patient_id")["place"] for name, part in frame.groupby("hospital")}
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not readable ({error}); restore it: splits depend on it") from error
        return cls({str(name): int(count) for name, count in counts.items()}, place)

    def grown(self, tables: "dict[str, pd.Index[str]]") -> "Places":
        """The same for the patients there are now."""
        nobody = pd.Series(dtype="int64")
        place = {
            name: self.place.get(name, nobody).reindex(index, fill_value=LATER).astype("int64")
            for name, index in tables.items()
        }
        return Places({name: self.counts.get(name, 0) for name in tables}, place)

    def write(self, folder: Path) -> None:
        """Writes them into a prepared cohort's folder."""
        parts = [
            pd.DataFrame({"hospital": name, "patient_id": place.index, "place": place.to_numpy()})
            for name, place in self.place.items()
        ]
        table = pa.Table.from_pandas(pd.concat(parts), preserve_index=False)
        with replacing(folder / FILE) as temporary:
            pq.write_table(table.replace_schema_metadata({_META: json.dumps(self.counts)}), temporary)
