"""Image files of a hospital, of whatever modality: listed, opened, compared and packed into a store."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import Progress

from foundation.data import image_checks
from foundation.data.declaration import Declaration
from foundation.data.dictionary import DataDictionary
from foundation.data.image_looks import Look, files_of, look_in_threads
from foundation.data.image_source import ImageSource
from foundation.data.listing import list_images
from foundation.data.preparation import Packing, Preparation
from foundation.data.problems import Problems, refuse
from foundation.data.site import Site
from foundation.data.sources import usual_table
from foundation.data.store import ImageWriter
from foundation.data.tables import TableSource

Reader = Callable[[Path, str], NDArray[Any]]


class ImagePreparation(Preparation):
    """A modality whose values are files, one or several a patient, and rows of a store once packed.

    Attributes:
        source: how its files are declared.
        kinds: of files that it reads.
    """

    source: ClassVar[type[ImageSource]]
    kinds: ClassVar[tuple[str, ...]]

    @property
    def sources(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Its one field, named as the modality."""
        return {self.storage.name: self.source}

    def usual(self, folder: Path, field: str) -> ImageSource | None:
        listing = usual_table(folder, field)
        return self.usual_files(folder) if listing is None else self.source(table=TableSource(file=listing))

    @abstractmethod
    def usual_files(self, folder: Path) -> ImageSource | None:
        """A source for the files in the usual place, where no table lists them."""

    def read(self, site: Site, places: Mapping[str, Any], declaration: Declaration, problems: Problems) -> None:
        name, source = self.storage.name, places.get(self.storage.name)
        if source is None:
            return
        site.files[name] = site.folder / (source.table.file if source.table else source.files)
        ignore = declaration.unknown_patients == "ignore"
        listed = problems.attempt(
            list_images, site.folder, source, site.patients.index, problems, ignore, site.landmarks
        )
        if listed is not None and len(listed):
            site.tables[name], site.sources[name] = listed, source

    def patients(self, site: Site) -> "pd.Index[str]":
        return site.tables[self.storage.name].index if self.storage.name in site.tables else pd.Index([])

    def check_together(
        self, sites: list[Site], declaration: Declaration, problems: Problems, bars: Progress, images: bool
    ) -> None:
        if images:
            look = partial(self.look, dictionary=declaration.dictionary)
            image_checks.check(self.storage.name, look, sites, problems, bars)

    def look(self, looks: list[Look], source: Any, dictionary: DataDictionary) -> Iterator[Look]:
        """Opens files and fills in what they are, one by one."""

        def fill(look: Look, problems: Problems) -> None:
            if look.kind not in self.kinds:
                finding, advice = (
                    f"no kind of file that {self.storage.name} has",
                    "declare it under the one that has it",
                )
                raise refuse(look.path, finding, f"{advice}, or name its kind", field="kind", value=look.kind)
            self.open(look, source, dictionary, problems)

        return look_in_threads(looks, fill)

    def files_of(self, path: Path, kind: str, source: Any) -> list[Path]:
        """All files that one listed is read from.

        Args:
            path: as listed; exists.
            kind: of it.
            source: as declared.
        """
        return files_of(path)

    @abstractmethod
    def open(self, look: Look, source: Any, dictionary: DataDictionary, problems: Problems) -> None:
        """Fills in what one file of one of `kinds` is.

        Raises:
            DataError: if it cannot be read.
        """

    @abstractmethod
    def reader(self, packing: Packing, source: Any) -> Reader:
        """What makes rows of a store of one file: by its path and kind `[rows, ...]`."""

    def pack(self, packing: Packing) -> pd.DataFrame:
        name, site = self.storage.name, packing.site
        columns = [name, f"{name}_start", f"{name}_count"]
        table = pd.DataFrame(dict(zip(columns, (False, 0, 0), strict=True)), packing.order)
        if name not in site.tables:
            return table
        rows = _Rows(self.reader(packing, site.sources[name]), self.kinds)
        files = {str(patient): rows for patient, rows in site.tables[name].groupby(level=0)}
        with ImageWriter(packing.output, name) as writer:
            for patient in packing.order:
                if patient in files:
                    added = [writer.add(part) for part in rows.of(files[patient])]
                    table.loc[patient, columns] = [True, added[0][0], sum(count for _, count in added)]
        return table


class _Rows:
    """All files of one patient as rows of a store, which are of one type in all of a hospital."""

    def __init__(self, read: Reader, kinds: tuple[str, ...]) -> None:
        self.read = read
        self.kinds = kinds
        self.first: tuple[str, np.dtype[Any]] | None = None

    def of(self, files: pd.DataFrame) -> Iterator[NDArray[Any]]:
        """`[rows, ...]` of each file listed; pictures of one patient may be of several sizes."""
        for row in files.itertuples():
            part = self._file(Path(row.path), row.kind)
            self._refuse_mixed(row.path, part)
            yield part

    def _file(self, path: Path, kind: str) -> NDArray[Any]:
        if kind not in self.kinds:
            raise refuse(path, f"{kind} cannot be read here", "declare its kind under sources", field="kind")
        return self.read(path, kind)

    def _refuse_mixed(self, path: str, part: NDArray[Any]) -> None:
        self.first = self.first or (path, part.dtype)
        if part.dtype != self.first[1]:
            finding = f"{part.dtype} values, {self.first[0]} has {self.first[1]}"
            raise refuse(path, finding, "give all of a hospital's files as images, or all as features of one type")
