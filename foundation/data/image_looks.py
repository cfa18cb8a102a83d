"""One look at an image file: whether it can be read, what it carries, and what it can be known again by."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.data.image_pairs import Prints
from foundation.data.problems import Problem, Problems

PICTURES = "pictures"


@dataclass
class Look:
    """One file, or one folder of a DICOM series, as it was found.

    Attributes:
        hospital: whose it is.
        patient: likewise.
        path: of it.
        kind: as the listing says.
        content: digest of its bytes; empty where it could not be read.
        prints: of its pictures; of a slide those of its thumbnail, of features none.
        size: of each picture as packed, or the dimension of features; as text, for messages.
        form: what packing makes of it, which is one thing for all of a hospital's files.
        carries: names of parts inside that can show who the patient is.
        parts: what these are.
        problems: with reading it.
    """

    hospital: str
    patient: str
    path: Path
    kind: str
    content: str = ""
    prints: Prints = field(default_factory=Prints.none)
    size: str = ""
    form: str = PICTURES
    carries: list[str] = field(default_factory=list)
    parts: str = ""
    problems: list[Problem] = field(default_factory=list)

    def show(self, pictures: NDArray[np.uint8]) -> None:
        """Notes what its pictures, RGB `[pictures, height, width, 3]`, are known by."""
        self.size = f"{pictures.shape[1]} by {pictures.shape[2]} pixels"
        self.prints = Prints.of(pictures)


def look_in_threads(looks: list[Look], fill: Callable[[Look, Problems], None]) -> Iterator[Look]:
    """Fills in what files are, in parallel threads, in the order given.

    Args:
        looks: still without findings.
        fill: opens one file; what it refuses becomes the look's problem.
    """

    def look_at(look: Look) -> Look:
        problems = Problems()
        problems.attempt(_fill, look, fill, problems)
        look.problems = problems.listed
        return look

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(look_at, looks)


def _fill(look: Look, fill: Callable[[Look, Problems], None], problems: Problems) -> None:
    fill(look, problems)
    look.content = digest(files_of(look.path))


def files_of(path: Path) -> list[Path]:
    """The file, or all files of the folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def digest(files: list[Path]) -> str:
    """Of the bytes of all files, whatever they are called; each is read in pieces."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
