"""The file of a split: a row a patient with its part, a column a part, or a column a part with yes and no."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError, model_validator

from foundation.data.problems import Problems, refuse
from foundation.data.strict import Word, with_group
from foundation.data.table_files import Reading, as_text, read_frame
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.errors import UserError

PARTS = ("train", "validation", "test")
# How split files call the parts, letter case aside; `parts` of a declaration says others.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_SHOWN = 6  # words in one line


class SplitSource(TableSource):
    """The table of a split.

    Args:
        parts: part → its words in the file, beside the usual ones (train, val, test and the like).
        validation: whether patients of validation stand in the file, or are drawn from those of train.
    """

    parts: dict[Literal["train", "validation", "test"], list[Word]] = Field({})
    validation: Literal["file", "drawn"] = "file"

    @model_validator(mode="after")
    def _one_part_a_word(self) -> "SplitSource":
        words = [word for listed in self.parts.values() for word in listed]
        twice = next((word for word in words if words.count(word) > 1), None)
        if twice is not None:
            raise ValueError(f"parts: '{twice}' stands for two parts")
        return self

    def part_of(self, word: str) -> str | None:
        """The part that a word means; None for none."""
        declared = {word: part for part, words in self.parts.items() for word in words}
        return declared.get(word, _WORDS.get(word.casefold()))


def split_source(source: str | Mapping[str, Any]) -> SplitSource:
    """The table of parts: a file, or a declaration that says how its columns and parts are called.

    Raises:
        UserError: on a field that a split's declaration has not.
    """
    if isinstance(source, str):
        return SplitSource(file=source)
    try:
        return SplitSource.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"split_file.{field}: {first['msg']}; give file, key and columns: {{part: ...}}") from error


def read_parts(source: SplitSource, problems: Problems | None = None) -> "pd.Series[str]":
    """Each patient's part, indexed by patient in the order of the file.

    Args:
        source: the table's declaration.
        problems: takes patients in no part, whose part is then missing; those in two are left to the caller.

    Raises:
        DataError: if the file cannot be used; without `problems`, also if a word is no part, or a patient stands twice.
    """
    path = Path(source.file)
    if source.columns is None and path.is_file():
        table = read_frame(path, source, Reading((source.key,)))
        columns = {name: part for name in table.names if (part := source.part_of(name)) is not None}
        if "part" not in table.names and "train" in columns.values():
            return _wide(path, table.frame, columns, source)
    table_of_parts = read_source(Path(), source, unique=problems is None, kinds=Kinds(text=["part"]))
    if "part" not in table_of_parts:
        raise refuse(path, "no column 'part'", f"say {', '.join(PARTS)} there, or give a column each", field="part")
    written = table_of_parts["part"]
    parts = written.map(source.part_of, na_action="ignore")
    for patient, word in written[parts.isna()].items():
        finding, advice = f"patient {patient} is in no part", _advice(source, written, word)
        if problems is None:
            raise refuse(path, finding, advice, field="part", value=word)
        problems.error(path, finding, advice, field="part", value=word)
    return parts


def _advice(source: SplitSource, written: "pd.Series[str]", word: str | None) -> str:
    """What to say instead of a word that is no part."""
    advice = f"say {', '.join(PARTS)}"
    if pd.isna(word):
        return advice
    words = written.dropna().drop_duplicates()
    listed = ", ".join(words[:_SHOWN]) + (", ..." if len(words) > _SHOWN else "")
    return f"{advice}, or in the declaration which word is which: parts: {{test: ['{word}']}} (there are {listed})"


def _wide(path: Path, frame: pd.DataFrame, columns: dict[str, str], source: SplitSource) -> "pd.Series[str]":
    """A column a part: of patients, or of yes and no beside a column of patients."""
    cells = {name: as_text(frame[name]) for name in columns}
    flags = all(column.dropna().str.casefold().isin([*_YES, *_NO]).all() for column in cells.values())
    others = [name for name in frame.columns if name not in columns]
    key = source.key if source.key in others else others[0] if len(others) == 1 else None
    rows: list[tuple[str | None, str]] = []
    for name, part in columns.items():
        known = cells[name].dropna()
        if flags and key is not None:
            chosen = known.index[known.str.casefold().isin(_YES)]
            rows += [(patient, part) for patient in as_text(frame.loc[chosen, key])]
        else:
            rows += [(patient, part) for patient in known]
    listed = pd.Series([part for _, part in rows], [patient for patient, _ in rows], dtype=object)
    names = listed.index.to_series().astype(object)
    if source.key_pattern is not None:
        names = names.str.extract(with_group(source.key_pattern), expand=False)
    if names.isna().any():
        value = listed.index[names.isna().to_numpy()][0]
        raise refuse(path, "names no patient", "mend the cell or key_pattern", field=str(key or ""), value=value)
    listed.index = pd.Index(names.to_numpy(), name="patient_id")
    return listed[~pd.DataFrame({"patient": listed.index, "part": listed.to_numpy()}).duplicated().to_numpy()]
