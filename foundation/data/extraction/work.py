"""The work of one process: files through the encoder, in batches, in parts that a killed run goes on with."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foundation.data.extraction.contract import Extractor, Load, Pictures, Reading
from foundation.data.extraction.feature_file import KEY, write_features
from foundation.data.packages import modules
from foundation.data.problems import Problem, Problems, refuse
from foundation.files import replacing, unfinished

PART = 1024  # pictures after which what a file has so far is kept


@dataclass(frozen=True)
class PictureFile:
    """One file whose features are wanted.

    Attributes:
        path: of it.
        kind: as the listing says.
        modality: that it is of.
        settings: of the modality's reading.
        target: the file of features.
        attributes: that say whose and of what they are; see `foundation.data.extraction.plan`.
    """

    path: Path
    kind: str
    modality: str
    settings: Any
    target: Path
    attributes: dict[str, Any]

    def open(self, problems: Problems) -> Pictures:
        """Its pictures; `problems` takes warnings."""
        reading: Reading = modules("extraction")[self.modality].READING
        return reading.open(self.path, self.kind, self.settings, problems)


class Worker:
    """The encoder of this process, from its folder at the first use.

    Args:
        load: reads the folder.
        folder: of the encoder.
        batch: pictures at once.
        threads: of a process on the CPU.
        gpus: devices by number, shared evenly among processes; the CPU if none.
    """

    def __init__(self, load: Load, folder: Path, batch: int, threads: int, gpus: int) -> None:
        self.load, self.folder, self.batch, self.threads, self.gpus = load, folder, batch, threads, gpus

    def __call__(self, number: int) -> None:
        """Makes this process ready for jobs; it is called with the process's number."""
        global _READY
        if not self.gpus:
            torch.set_num_threads(self.threads)
        extractor = self.load(self.folder)
        extractor.to(torch.device("cuda", number % self.gpus) if self.gpus else torch.device("cpu"))
        _READY = _Ready(extractor, self.batch, ahead=bool(self.gpus))


@dataclass
class _Ready:
    extractor: Extractor
    batch: int
    ahead: bool


_READY: _Ready | None = None


def extract(folder: Path, files: list[PictureFile]) -> list[Problem]:
    """Writes the features of some files.

    Args:
        folder: that the job goes by; `unfinished` of it holds what is done of a large file.
        files: one of many pictures, or several of one each.
    """
    assert _READY is not None
    problems = Problems()
    parts = unfinished(folder)
    parts.mkdir(parents=True, exist_ok=True)
    if len(files) == 1:
        problems.attempt(_extract_file, files[0], parts, _READY, problems)
    else:
        _extract_together(files, problems, _READY)
    shutil.rmtree(parts)
    return problems.listed


def _extract_file(file: PictureFile, parts: Path, ready: _Ready, problems: Problems) -> None:
    with file.open(problems) as pictures:
        count = len(pictures.coords)
        done = []
        for start in range(0, count, PART):
            stop, path = min(start + PART, count), parts / f"{start:08d}.npy"
            if not path.is_file():
                encoded = [ready.extractor.encode(rows) for rows in _batches(pictures, start, stop, ready)]
                with replacing(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, np.concatenate(encoded))
            done.append(np.load(path))
        _write(file, np.concatenate(done), pictures.coords, pictures.facts)


def _batches(pictures: Pictures, start: int, stop: int, ready: _Ready) -> Iterator[list[NDArray[np.uint8]]]:
    """Pictures some at a time; beside a GPU the next ones are read while it encodes."""
    bounds = [(at, min(at + ready.batch, stop)) for at in range(start, stop, ready.batch)]
    if not ready.ahead:
        yield from (pictures.read(*part) for part in bounds)
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(pictures.read, *bounds[0])
        for part in [*bounds[1:], None]:
            rows = coming.result()
            if part is not None:
                coming = reader.submit(pictures.read, *part)
            yield rows


def _extract_together(files: list[PictureFile], problems: Problems, ready: _Ready) -> None:
    """Files of one picture each, in batches; one that cannot be read costs itself alone."""
    for start in range(0, len(files), ready.batch):
        read = [(file, problems.attempt(_read_one, file, problems)) for file in files[start : start + ready.batch]]
        fine = [(file, one) for file, one in read if one is not None]
        if not fine:
            continue
        features = ready.extractor.encode([row for _, (row, _, _) in fine])
        for (file, (_, coords, facts)), row in zip(fine, features, strict=True):
            problems.attempt(_write, file, row[None], coords, facts)


def _write(file: PictureFile, features: NDArray[np.floating], coords: NDArray[np.int64], facts: dict[str, Any]) -> None:
    """The file of features, unless some are no numbers: once written they would count as done.

    Raises:
        DataError: if some are.
    """
    if not np.isfinite(features).all():
        advice = "set extractor.precision=float32 if it is float16, or leave the file out"
        raise refuse(file.path, "the encoder makes NaN or infinite features of it", advice)
    write_features(file.target, features, coords, facts | file.attributes)


def _read_one(file: PictureFile, problems: Problems) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Any]]:
    with file.open(problems) as pictures:
        return pictures.read(0, 1)[0], pictures.coords, pictures.facts


def attributes_of(extractor: Extractor, digest: str, source_digest: str, settings: Any, key: str) -> dict[str, Any]:
    """What a file of features says of itself."""
    return {
        KEY: key,
        "encoder": extractor.name,
        "encoder_digest": digest,
        "source_digest": source_digest,
        "settings": asdict(settings),
    }


def default_workers(gpus: int) -> int:
    """A process a core; beside GPUs four each, which read for it."""
    cores = os.cpu_count() or 1
    return min(4 * gpus, cores) if gpus else cores
