"""Rows of several stores in one: Arrow files are linked where all of their rows stay, else copied."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import refuse
from foundation.data.store import Contents, Shard, read_contents, store_features
from foundation.files import link, write_json

_ROWS = 64  # copied at once
Runs = NDArray[np.int64]  # `[patients, 2]`: first row and number of rows, none overlapping


def merge_stores(parts: Sequence[tuple[Path, Runs]], output: Path, name: str) -> list[NDArray[np.int64]]:
    """Writes a store of those rows alone.

    Args:
        parts: folder of a store, and the runs of its rows that stay; a folder without the store has none.
        output: folder of the new one.
        name: of all of them.

    Returns:
        For each part, where its runs begin now, `[patients]`; 0 for those of no row.

    Raises:
        DataError: if the stores hold values of several types, or one cannot be read.
    """
    shards: list[Shard] = []
    kind, begin, starts = "", 0, []
    for folder, runs in parts:
        path = folder / f"{name}.json"
        if not path.is_file():
            starts.append(np.zeros(len(runs), np.int64))
            continue
        contents = read_contents(path)
        stays = _stays(runs, sum(shard.rows for shard in contents.shards))
        if stays.any():
            if kind not in ("", contents.type):
                raise refuse(path, f"{contents.type} values, where others are {kind}", "give all of one type")
            kind = contents.type
        before = np.concatenate([[0], np.cumsum(stays)])
        starts.append(np.where(runs[:, 1] > 0, begin + before[runs[:, 0]], 0))
        begin += int(stays.sum())
        _take(contents.shards, stays, folder, output, name, shards)
    if shards:
        write_json(output / f"{name}.json", Contents(type=kind, shards=shards).model_dump())
    return starts


def _stays(runs: Runs, rows: int) -> NDArray[np.bool_]:
    """Which rows any run holds."""
    edges = np.zeros(rows + 1, np.int64)
    np.add.at(edges, runs[:, 0], (runs[:, 1] > 0).astype(np.int64))
    np.add.at(edges, runs.sum(axis=1), -(runs[:, 1] > 0).astype(np.int64))
    return np.asarray(edges.cumsum()[:rows] > 0)


def _take(
    earlier: Sequence[Shard], stays: NDArray[np.bool_], folder: Path, output: Path, name: str, shards: list[Shard]
) -> None:
    begin = 0
    for shard in earlier:
        of_shard = stays[begin : begin + shard.rows]
        begin += shard.rows
        if not of_shard.any():
            continue
        path = output / f"{name}-{len(shards):05d}.arrow"
        if of_shard.all():
            link(folder / shard.file, path)
        else:
            _copy(folder / shard.file, np.flatnonzero(of_shard), path)
        shards.append(Shard(file=path.name, rows=int(of_shard.sum()), bytes=path.stat().st_size))


def _copy(path: Path, rows: NDArray[np.intp], to: Path) -> None:
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    table: Any = Dataset.from_file(str(path)).with_format("arrow")
    writer = ArrowWriter(path=str(to), features=store_features(), with_metadata=False)
    for start in range(0, len(rows), _ROWS):
        chunk = table[rows[start : start + _ROWS].tolist()]
        writer.write_table(chunk, len(chunk))
    writer.finalize()
