"""What a prepared cohort was made from, as digests: `growth.parquet`, by which the next preparation knows what changed.

It holds no name of a file and no value: by hospital's folder, source and patient (as packed) 64 bits over what the
patient has there, and for files 64 more over their names, sizes and times, so that they are read again where those
differ alone. In the file's metadata stand the settings that the cohort was prepared under, and a digest of each file.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.files import replacing

FILE = "growth.parquet"
EVERYBODY = ""  # stands for all patients of a folder: a digest of the whole file
_FORMAT = 1
_META = b"consilium"

_WORDS = ["place", "source", "patient"]
_DICTIONARY = 1 << 30  # bytes of different words
_NONE, _NOBODY = np.array([], np.uint64), np.array([], dtype=object)
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
        prints = sorted(self.prints.items())
        keys = np.repeat(np.arange(len(prints), dtype=np.int32), [len(frame) for _, frame in prints])
        words = [pa.array([key[part] for key, _ in prints], pa.string()) for part in (0, 1)]
        columns = {
            name: pa.DictionaryArray.from_arrays(keys, each)
            for name, each in zip(("place", "source"), words, strict=True)
        }
        columns["patient"] = _texts(frame for _, frame in prints)
        for name in ("digest", "stat"):
            columns[name] = pa.array(np.concatenate([_NONE, *(frame[name].to_numpy() for _, frame in prints)]))
        table = pa.table(columns)
        facts = {"format": _FORMAT, "settings": self.settings, "files": self.files}
        with replacing(folder / FILE) as temporary:
            table = table.replace_schema_metadata({_META: json.dumps(facts)})
            # Patients recur by source: names are kept once however many there are.
            pq.write_table(table, temporary, use_dictionary=_WORDS, dictionary_pagesize_limit=_DICTIONARY)

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
            table = pq.read_table(path, read_dictionary=_WORDS).combine_chunks()
            facts = json.loads(table.schema.metadata[_META])
            settings, files, version = facts["settings"], facts["files"], facts["format"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not readable ({error}); {advice}") from error
        if version != _FORMAT:
            raise UserError(f"{path}: of another release; {advice}")
        patients, place, source = (_words(table, name) for name in ("patient", "place", "source"))
        index = pd.Index(np.array(patients[0], dtype=object)[patients[1]])
        frame = table.select(["digest", "stat"]).to_pandas().set_index(index)
        codes = np.stack([place[1], source[1]])
        begins = np.flatnonzero(np.append(True, (codes[:, 1:] != codes[:, :-1]).any(axis=0))[: len(frame)])
        keys = [(place[0][codes[0, at]], source[0][codes[1, at]]) for at in begins]
        if len(set(keys)) < len(keys):
            raise UserError(f"{path}: not in order; {advice}")
        ends = [*begins[1:], len(frame)]
        prints = {key: frame.iloc[begin:end] for key, begin, end in zip(keys, begins, ends, strict=True)}
        return cls(settings, prints, files)


def _texts(frames: Iterable[pd.DataFrame]) -> pa.Array:
    """Their indices one after the other, each word once."""
    codes, words = pd.factorize(np.concatenate([_NOBODY, *(frame.index.to_numpy(dtype=object) for frame in frames)]))
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(words, pa.string()))


def _words(table: pa.Table, name: str) -> tuple[list[str], NDArray[np.int64]]:
    """The words of a column, and which stands in each row."""
    column = table[name].chunk(0) if table[name].num_chunks else pa.DictionaryArray.from_arrays([], [])
    return column.dictionary.to_pylist(), column.indices.to_numpy(zero_copy_only=False).astype(np.int64)


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
