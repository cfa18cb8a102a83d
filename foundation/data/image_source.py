"""The declaration of image files: a table that lists them, or names that say whose they are."""

from typing import Literal

from pydantic import Field, model_validator

from foundation.data.strict import Pattern, Strict
from foundation.data.tables import TableSource


class ImageSource(Strict):
    """A table that lists files, or files whose names begin with the patient.

    Args:
        table: with a column `file`, a row a file.
        files: a glob, in the hospital's folder; the patient is the one whose id stands in the file's or its folder's
            name.
        key_pattern: regular expression whose group (or whole match) is the patient in a file's path, where names hold
            several ids.
        annotations: whether masks, segmentations and label maps among the files are left out, or kept as images.
        kind: of the files; by their suffix if not given.
        keep: at most so many files a patient, the first by `order`.
        order: columns of the table, a minus for descending.
    """

    table: TableSource | None = None
    files: str | None = None
    key_pattern: Pattern | None = None
    annotations: Literal["leave_out", "keep"] = "leave_out"
    kind: str | None = None
    keep: int | None = Field(None, ge=1)
    order: list[str] = Field([])

    @model_validator(mode="after")
    def _one_way(self) -> "ImageSource":
        if (self.table is None) == (self.files is None):
            raise ValueError("give either table or files")
        if self.key_pattern is not None and self.files is None:
            raise ValueError("key_pattern: for files by name; a table's own key_pattern stands within table")
        return self
