"""What extraction needs of an encoder, and of a modality's files: `extraction.py` of the modality's package."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import Problems


class Extractor(Protocol):
    """An image encoder; `foundation.modalities.extractor.FeatureExtractor` is one.

    Attributes:
        name: of the encoder.
        dim: of its features.
        mpp: microns per pixel that it was trained at; None where nobody says.
        tile: side of a tile at that resolution, pixels.
    """

    name: str
    dim: int
    mpp: float | None
    tile: int

    def save(self, folder: Path) -> None:
        """Writes its folder."""

    def to(self, device: Any) -> Any:
        """Moves it."""

    def encode(self, rows: list[NDArray[np.uint8]]) -> NDArray[np.floating]:
        """Features `[images, dim]` of images `[height, width, 3]`."""


Load = Callable[[Path], Extractor]


class Pictures(AbstractContextManager["Pictures"]):
    """The pictures of one file, open for reading.

    Attributes:
        coords: upper left corner of each `[pictures, 2]` (x, y), full-resolution pixels; of a scan (0, slice).
        facts: what the file of features says of them besides.
    """

    coords: NDArray[np.int64]
    facts: dict[str, Any]

    @abstractmethod
    def read(self, start: int, stop: int) -> list[NDArray[np.uint8]]:
        """Those from `start` to before `stop`, RGB `[height, width, 3]`."""

    def __exit__(self, *_: object) -> None:
        """Lets the file go."""


class Reading(ABC):
    """How a modality's files are read for an encoder; settings can be pickled, and are a dataclass.

    Attributes:
        single: kinds of files that hold one picture each, which are encoded together.
    """

    single: ClassVar[tuple[str, ...]] = ("images",)

    @abstractmethod
    def settings(self, source: Any, mpp: float | None, tile: int) -> Any:
        """What pictures depend on beside the file.

        Args:
            source: as the files were declared.
            mpp: of the encoder; None where nobody says.
            tile: of the encoder.
        """

    @abstractmethod
    def files(self, path: Path) -> list[Path]:
        """The files that make up one entry of a listing."""

    @abstractmethod
    def open(self, path: Path, kind: str, settings: Any, problems: Problems) -> Pictures:
        """One file.

        Args:
            path: of it.
            kind: as the listing says.
            settings: as `settings` gives them.
            problems: takes warnings.

        Raises:
            DataError: if it cannot be read.
        """


class InMemory(Pictures):
    """Pictures that were read at once.

    Args:
        pictures: `[pictures, height, width, 3]`.
        facts: see `Pictures`.
    """

    def __init__(self, pictures: NDArray[np.uint8], facts: dict[str, Any] | None = None) -> None:
        self._pictures = pictures
        places = np.arange(len(pictures), dtype=np.int64)
        self.coords = np.stack([np.zeros_like(places), places], axis=1)
        self.facts = facts or {}

    def read(self, start: int, stop: int) -> list[NDArray[np.uint8]]:
        return list(self._pictures[start:stop])
