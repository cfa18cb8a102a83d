"""Where each patient stood when the cohort was first prepared: what keeps the parts of every split as they were.

A split draws positions in a hospital's sorted list. In a cohort that grew, `places.parquet` holds for each patient the
hospital they came to first and the position in its first list, so that the draw is the same one whoever came, left or
changed hospital since; who came later has no position. Whoever left stands there by a keyed digest alone, so that they
find their place again if they return. The key lies beside it: nobody is named, but who holds the file and an id can
tell whether its patient was there once.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foundation.errors import UserError
from foundation.files import replacing

FILE = "places.parquet"
LATER = -1
_META, _KEY = b"consilium", b"key"
_NOBODY = np.array([], dtype=object)


@dataclass(frozen=True)
class Places:
    """Positions in the first lists.

    Attributes:
        counts: patients of each hospital when it was first prepared.
        place: by the hospital where a patient was first, position by patient; of those who are in the cohort.
        left: by digest of the id, hospital and position of those who are not any more.
        key: of the digests.
    """

    counts: dict[str, int]
    place: "dict[str, pd.Series[int]]"
    left: dict[str, tuple[str, int]]
    key: bytes

    @classmethod
    def first(cls, tables: "dict[str, pd.Index[str]]") -> "Places":
        """Those of a cohort that has not grown."""
        place = {name: pd.Series(range(len(index)), sorted(index)) for name, index in tables.items()}
        return cls({name: len(index) for name, index in tables.items()}, place, {}, secrets.token_bytes(32))

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
            counts = {str(name): int(count) for name, count in json.loads(table.schema.metadata[_META]).items()}
            key = table.schema.metadata.get(_KEY, b"").hex() or secrets.token_hex(32)
            frame = table.to_pandas()
            if (frame["place"] >= frame["hospital"].map(counts).fillna(0)).any():
                raise ValueError("a place beyond its hospital's first list")
            if frame["patient_id"].duplicated().any():
                raise ValueError("a patient stands there twice")
            # A release that forgot who left wrote neither key nor column.
            gone = frame["left"].astype(bool) if "left" in frame else pd.Series(False, frame.index)
            here, away = frame[~gone], frame[gone]
            place = {str(name): part.set_index("patient_id")["place"] for name, part in here.groupby("hospital")}
            left = dict(
                zip(away["patient_id"], zip(away["hospital"], away["place"].map(int), strict=True), strict=True)
            )
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not readable ({error}); restore it: splits depend on it") from error
        return cls(counts, place, left, bytes.fromhex(key))

    def grown(self, tables: "dict[str, pd.Index[str]]") -> "Places":
        """The same for the patients there are now: nobody's place changes, whether they stayed, moved or returned."""
        known, left = _frame(self.place), dict(self.left)
        now = _frame({name: pd.Series(LATER, index, dtype="int64") for name, index in tables.items()})
        at = pd.Index(known["patient_id"]).get_indexer(pd.Index(now["patient_id"]))
        stayed = at >= 0
        for column in ("hospital", "place"):
            now.loc[stayed, column] = known[column].to_numpy()[at[stayed]]
        for row in np.flatnonzero(~stayed) if left else ():  # they may be back, which takes a digest to tell
            origin = left.pop(self._digest(str(now.at[row, "patient_id"])), None)
            if origin is not None:
                now.loc[row, ["hospital", "place"]] = origin
        for hospital, patient, place in known.drop(at[stayed]).itertuples(index=False):
            left[self._digest(patient)] = str(hospital), int(place)
        place = {str(name): part.set_index("patient_id")["place"] for name, part in now.groupby("hospital", sort=False)}
        counts = dict.fromkeys(tables, 0) | self.counts
        return Places(counts, place, left, self.key)

    def _digest(self, patient: str) -> str:
        """128 bits of keyed BLAKE2b (RFC 7693)."""
        return hashlib.blake2b(patient.encode(), digest_size=16, key=self.key).hexdigest()

    def write(self, folder: Path) -> None:
        """Writes them into a prepared cohort's folder."""
        rows = [(name, digest, at) for digest, (name, at) in sorted(self.left.items())]
        away = pd.DataFrame(rows, columns=["hospital", "patient_id", "place"]).astype({"place": "int64"})
        frame = pd.concat([_frame(self.place).assign(left=False), away.assign(left=True)])
        table = pa.Table.from_pandas(frame, preserve_index=False)
        with replacing(folder / FILE) as temporary:
            pq.write_table(table.replace_schema_metadata({_META: json.dumps(self.counts), _KEY: self.key}), temporary)


def _frame(place: "dict[str, pd.Series[int]]") -> pd.DataFrame:
    """A row a patient: `hospital`, `patient_id`, `place`."""
    counts = [len(one) for one in place.values()]
    columns = {
        "hospital": np.repeat(np.array(list(place), dtype=object), counts),
        "patient_id": np.concatenate([_NOBODY, *(one.index.to_numpy(dtype=object) for one in place.values())]),
        "place": np.concatenate([_NOBODY.astype("int64"), *(one.to_numpy() for one in place.values())]),
    }
    return pd.DataFrame(columns)
