"""The packed form: arrays of one kind in Arrow files, streamed to disk and read row by row through HF Datasets.

| file | holds |
| --- | --- |
| `<name>-00000.arrow`, ... | a row an image or a tile's features: `data` (bytes), `shape`, `digest` (XXH3 of both) |
| `<name>.json` | type of the values, and rows and bytes of each file; written last |

Chosen by measurement (`scripts/bench/streaming.py`, 256×256 tiles, two workers): raw bytes in Arrow stream faster than
in LitData or WebDataset, and rows are read at random, so that of a slide's 10,000 tiles only those drawn are touched.
WebDataset reads its files from end to end, LitData a chunk at a time, and LitData's requirements contradict the pinned
ones. The files are plain Arrow streams: `datasets.Dataset.from_file` opens them without this project.
"""

import math
import os
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.data.problems import refuse, refuse_invalid
from foundation.files import write_json

if TYPE_CHECKING:
    from datasets import Dataset, Features
    from datasets.arrow_writer import ArrowWriter

_BATCH_BYTES = 1 << 24  # held in memory while writing
_SHARD_BYTES = 1 << 29
_TYPES = ("uint8", "float16", "float32")
_NUMBER = "[0-9]" * 5
_AGAIN = "prepare the cohort again"


@cache
def store_features() -> "Features":
    """Columns of a store; who opens none, as a served model, does without `datasets` and its megabytes."""
    from datasets import Features, Sequence, Value

    return Features({"data": Value("binary"), "shape": Sequence(Value("int32")), "digest": Value("uint64")})


class Shard(BaseModel):
    """One Arrow file of a store."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(pattern=r"^[\w-]+\.arrow$")
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)


class Contents(BaseModel):
    """`<name>.json`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    type: Literal["uint8", "float16", "float32"] = "uint8"
    shards: list[Shard] = []


class ImageWriter(AbstractContextManager["ImageWriter"]):
    """Writes arrays row by row, a batch in memory at a time; nothing is there until `close`.

    Files depend on the rows alone, byte for byte, not on how calls of `add` split them. As a context manager it closes
    at the end, and removes what it wrote after an error.

    Args:
        folder: exists.
        name: of the store in it.
        shard_bytes: after which a file is closed and the next one begun.
    """

    def __init__(self, folder: Path, name: str, shard_bytes: int = _SHARD_BYTES) -> None:
        self._folder, self._name, self._limit = folder, name, shard_bytes
        self._type: str | None = None
        self._shards: list[Shard] = []
        self._rows: list[dict[str, Any]] = []
        self._buffered = self._written = 0
        self._writer: ArrowWriter | None = None
        self._count = 0
        self._remove_unfinished()

    def add(self, images: NDArray[Any]) -> tuple[int, int]:
        """Appends rows of one shape.

        Args:
            images: `[n, height, width, 3]` uint8, or features `[n, dim]` float16 or float32; one type a store, one
                shape a call.

        Returns:
            Position of the first, and how many.

        Raises:
            ValueError: on another type than the rows before, or one that the store does not hold.
        """
        kind = images.dtype.name
        if kind not in _TYPES or (self._type or kind) != kind:
            raise ValueError(f"{self._name}: {kind} cannot follow {self._type}; a store holds one of {_TYPES}")
        self._type = kind
        start = self._count
        for row in images:
            data, shape = row.tobytes(), list(row.shape)
            self._rows.append({"data": data, "shape": shape, "digest": _digest(data, shape)})
            self._buffered += len(data)
            self._count += 1
            if self._buffered >= _BATCH_BYTES:
                self._flush()
        return start, len(images)

    def close(self) -> None:
        """Finishes the last file, then exchanges an earlier store for this one, the table of contents last."""
        self._flush()
        self._end_shard()
        contents = self._folder / f"{self._name}.json"
        contents.unlink(missing_ok=True)
        for path in self._folder.glob(f"{self._name}-{_NUMBER}.arrow"):
            path.unlink()
        for shard in self._shards:
            os.replace(self._unfinished(shard), self._folder / shard.file)
        write_json(contents, Contents(type=self._type or "uint8", shards=self._shards).model_dump())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end_shard()
            self._remove_unfinished()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            file = f"{self._name}-{len(self._shards):05d}.arrow"
            self._shards.append(Shard.model_construct(file=file, rows=0, bytes=0))
            path = str(self._unfinished(self._shards[-1]))
            from datasets.arrow_writer import ArrowWriter

            self._writer = ArrowWriter(path=path, features=store_features(), with_metadata=False)
        import pyarrow as pa

        columns = {name: [row[name] for row in self._rows] for name in store_features()}
        self._writer.write_table(pa.table(columns, schema=store_features().arrow_schema), len(self._rows))
        self._shards[-1].rows += len(self._rows)
        self._written += self._buffered
        self._rows, self._buffered = [], 0
        if self._written >= self._limit:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.finalize()
            self._shards[-1].bytes = self._unfinished(self._shards[-1]).stat().st_size
        self._writer, self._written = None, 0

    def _unfinished(self, shard: Shard) -> Path:
        return self._folder / f".{shard.file}.writing"

    def _remove_unfinished(self) -> None:
        for path in self._folder.glob(f".{self._name}-{_NUMBER}.arrow.writing"):
            path.unlink()


class ImageStore:
    """Rows of a store by position; what is not asked for is not read.

    It can be pickled and forked: each process opens the files for itself, at the first read.

    Args:
        folder: where `ImageWriter` wrote.
        name: of the store in it.

    Attributes:
        dtype: uint8 of images, float16 or float32 of features.

    Raises:
        DataError: if a file is missing, damaged, or shorter or longer than it was written.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        content = read_contents(self.path)
        self.dtype = np.dtype(content.type)
        self._shards = content.shards
        self._rows = sum(shard.rows for shard in self._shards)
        for shard in self._shards:
            path = folder / shard.file
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                finding = "missing" if size is None else f"holds {size} bytes where {shard.bytes} were written"
                raise refuse(path, finding, _AGAIN)
        self._opened: Dataset | None = None
        store_features()  # imports `datasets` once, before processes that load data are forked

    def __len__(self) -> int:
        return self._rows

    def read(self, indices: ArrayLike) -> NDArray[Any]:
        """Rows in the order asked for, `[n, height, width, 3]` uint8 or `[n, dim]`; one alone is not copied.

        Args:
            indices: positions, at least one; rows of one shape, as those of one `add` are.

        Raises:
            DataError: if a row's bytes are not those that were written.
            IndexError: for a position outside the store.
            ValueError: for rows of several shapes, or for none.
        """
        rows = self.rows(indices)
        if any(row.shape != rows[0].shape for row in rows):
            raise ValueError(f"{self.path}: rows of shapes {list(rows[0].shape)} and others read together")
        return rows[0][None] if len(rows) == 1 else np.stack(rows)

    def rows(self, indices: ArrayLike) -> list[NDArray[Any]]:
        """The same one by one, uncopied, of whatever shapes they are.

        Args:
            indices: positions, at least one.

        Raises:
            DataError: if a row's bytes are not those that were written.
            IndexError: for a position outside the store.
            ValueError: for none.
        """
        asked = np.asarray(indices).tolist()
        if not asked or min(asked) < 0 or max(asked) >= self._rows:
            raise (IndexError if asked else ValueError)(f"{self.path}: positions {asked[:3]}, rows {self._rows}")
        import pyarrow as pa  # as `datasets`: who opens no store goes without

        try:
            table = self._open()[asked]
            table.validate(full=True)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise refuse(self.path, f"its Arrow files are damaged ({error})", _AGAIN) from error
        rows = [value.as_buffer() for value in table["data"]]
        shapes = table["shape"].to_pylist()
        for index, data, shape, digest in zip(asked, rows, shapes, table["digest"].to_pylist(), strict=True):
            if data is None or _digest(data, shape) != digest or data.size != math.prod(shape) * self.dtype.itemsize:
                raise refuse(self.path, "bytes differ from those written", _AGAIN, row=index, field="data")
        return [np.frombuffer(data, self.dtype).reshape(shape) for data, shape in zip(rows, shapes, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> "Dataset":
        from datasets import Dataset, concatenate_datasets

        if self._opened is None:
            parts = [Dataset.from_file(str(self.path.with_name(shard.file))) for shard in self._shards]
            for shard, part in zip(self._shards, parts, strict=True):
                if part.features != store_features() or len(part) != shard.rows:
                    raise ValueError(f"{shard.file}: {len(part)} rows of {sorted(part.features)}")
            self._opened = concatenate_datasets(parts).with_format("arrow")
        return self._opened


def _digest(data: Any, shape: list[int]) -> int:
    """XXH3 of the bytes, seeded by the shape."""
    digest: int = xxhash.xxh3_64_intdigest(data, seed=xxhash.xxh3_64_intdigest(repr(shape).encode()))
    return digest


def read_contents(path: Path) -> Contents:
    if not path.is_file():
        raise refuse(path, "missing", _AGAIN)
    try:
        return Contents.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise refuse_invalid(path, error, _AGAIN) from error
