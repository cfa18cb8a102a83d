"""The declaration of image files: a table that lists them, or names that say whose they are."""

import re
from string import Formatter
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from foundation.data.samples import Samples
from foundation.data.strict import Pattern, Strict
from foundation.data.tables import TableSource

Form = Literal["bids", "nnunet", "clam", "trident", "visium"]
# What each form says of itself; whatever a declaration says besides goes before it.
FORMS: dict[str, dict[str, Any]] = {
    # Anatomical scans of a raw dataset (BIDS 1.9); those of derivatives lie elsewhere.
    "bids": {"files": "sub-*/**/anat/*.nii*", "key_pattern": r"(?:^|/)sub-([A-Za-z0-9]+)"},
    # The first channel of each case (nnU-Net v2): CASE_0000 with an ending.
    "nnunet": {"files": "images[Tt][rs]/*_0000.*", "key_pattern": r"images[Tt][rs]/(.+)_\d{4}\."},
    # Features of slides whose names begin with the patient; of one encoder.
    "clam": {"files": "**/h5_files/*.h5", "kind": "features"},
    # Space Ranger's output, a folder a patient.
    "visium": {"files": "**/filtered_feature_bc_matrix.h5", "kind": "spots"},
    "trident": {"files": "*px_*overlap/features_*/*.h5", "kind": "features"},
}
assert FORMS.keys() == set(get_args(Form))


def _of_columns(path: str) -> str:
    try:
        parts = [(name, spec) for _, name, spec, _ in Formatter().parse(path) if name is not None]
    except ValueError as error:
        raise ValueError(f"no path with columns in braces: {error}") from error
    if not parts or not all(name.isidentifier() and re.fullmatch(r"(\.\d+)?", spec or "") for name, spec in parts):
        raise ValueError("name columns of the table in braces, such as {file} or {subject:.2}")
    return path


class ImageSource(Strict):
    """A table that lists files, or files whose names begin with the patient.

    Args:
        table: with a column `file`, a row a file.
        files: a glob, in the hospital's folder; the patient is the one whose id stands in the file's or its folder's
            name.
        form: of a standard or a pipeline, which says where its files lie and whose they are; see `FORMS`.
        path: where a file of the table lies in the hospital's folder, what stands in braces being columns of the table,
            as in `files/p{subject:.2}/{file}.jpg` (`:.2` for the first two characters); beside the table if None.
        key_pattern: regular expression whose group (or whole match) is the patient in a file's path, where names hold
            several ids.
        annotations: whether masks, segmentations and label maps among the files are left out, or kept as images.
        kind: of the files; by their suffix if not given.
        keep: at most so many files a patient, the first by `order`.
        order: columns of the table, a minus for descending.
        samples: which files are taken of a patient who has several: all of those whose names match the earliest pattern
            that any of them does, or `primary` for barcodes of TCGA.
        date_pattern: regular expression whose group is the date in a file's path, `2020-03-01` or `20200301`; of DICOM
            its own date counts where none is given.
        select: by date, whether a patient's `earliest` or `latest` files are taken, or `all`.
        timeless: whether no landmark asks when the files were made.
    """

    table: TableSource | None = None
    files: str | None = None
    form: Form | None = None
    path: Annotated[str, AfterValidator(_of_columns)] | None = None
    key_pattern: Pattern | None = None
    annotations: Literal["leave_out", "keep"] = "leave_out"
    kind: str | None = None
    keep: int | None = Field(None, ge=1)
    order: list[str] = Field([])
    samples: Samples | None = None
    date_pattern: Pattern | None = None
    select: Literal["all", "earliest", "latest"] = "all"
    timeless: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_form(cls, declared: Any) -> Any:
        form = declared.get("form") if isinstance(declared, dict) else None
        if not isinstance(form, str) or form not in FORMS:
            return declared
        listed = "table" in declared  # which says itself where files lie and whose they are
        return {**{name: said for name, said in FORMS[form].items() if name == "kind" or not listed}, **declared}

    @model_validator(mode="after")
    def _one_way(self) -> "ImageSource":
        if (self.table is None) == (self.files is None):
            raise ValueError("give either table or files")
        if self.path is not None and self.table is None:
            raise ValueError("path: for files that a table lists")
        if self.key_pattern is not None and self.files is None:
            raise ValueError("key_pattern: for files by name; a table's own key_pattern stands within table")
        if self.select != "all" and self.table is not None and self.table.date is None:
            raise ValueError(f"select: {self.select} needs date, the table's column of dates, within table")
        return self

    @property
    def path_columns(self) -> list[str]:
        """Columns of the table that `path` names."""
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.path or "") if name))
