"""The data dictionary: what a cohort's columns and genes mean, agreed before any patient is read."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.documents import validated
from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import digest_of

FILE = "cohort.json"  # of a prepared cohort, which holds its dictionary
_ADVICE = "prepare the cohort again"
FORBIDDEN = (
    "vital_status",
    "tumor_status",
    "treatment_outcome",
    "new_tumor_event",
    "days_to",
    "cause_of_death",
    "death",
    "os",
    "os_days",
    "os_event",
    "dss",
    "dfi",
    "pfi",
    "censor",
    "survival",
    "last_contact",
)


def is_outcome(column: str) -> bool:
    """Whether a column's name says that it holds, or is computed from, an outcome."""
    name = column.lower().replace(".", "_")
    return any(name == word or name.startswith(f"{word}_") or (len(word) > 3 and word in name) for word in FORBIDDEN)


class RecordColumn(BaseModel):
    """One column of the clinical record: continuous with `center` and `scale`, or categorical with `values`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Literal["continuous", "categorical"]
    center: float = 0.0
    scale: float = 1.0
    values: list[str] = []


class Label(BaseModel):
    """One label as declared: 0 and 1, or words of `classes`, or a number in a `unit`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    classes: list[str] | None = Field(None, min_length=2)
    unit: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Label":
        if self.classes is not None and self.unit is not None:
            raise ValueError("give classes, or the unit of a number")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("a class stands twice")
        return self


class DataDictionary(BaseModel):
    """What a cohort's columns mean.

    Args:
        genes: by approved symbol, in the order in which the model sees them; all that any hospital measured if empty.
        expression_unit: in which expression is packed; each hospital's is converted to it.
        record: columns of the clinical record that are inputs.
        labels: columns of the patients' table: 0 or 1, or the index of one of several classes. In a declaration also
            `{name: grade, classes: [G1, G2, G3]}`, whose cells are these words, and `{name: ki67, unit: '%'}`.
        classes: of labels whose cells are words, in the order of their index.
        quantities: labels that are numbers, with their units.
        survival: `event` and `time`, columns of the patients' table.
        settings: by modality, what else all hospitals must agree on; the modality's package says what that is.
    """

    model_config = ConfigDict(extra="forbid")

    genes: list[str] = []
    expression_unit: str = "log2_tpm"
    record: list[RecordColumn] = []
    labels: list[str] = []
    classes: dict[str, list[str]] = {}
    quantities: dict[str, str] = {}
    survival: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {}

    @model_validator(mode="before")
    @classmethod
    def _described_labels(cls, declared: Any) -> Any:
        if not isinstance(declared, dict) or not isinstance(declared.get("labels"), list):
            return declared
        each = [one if isinstance(one, dict) else {"name": one} for one in declared["labels"]]
        described = [Label.model_validate(one) for one in each]
        classes = {one.name: one.classes for one in described if one.classes is not None}
        quantities = {one.name: one.unit for one in described if one.unit is not None}
        return {
            **declared,
            "labels": [one.name for one in described],
            "classes": {**declared.get("classes", {}), **classes},
            "quantities": {**declared.get("quantities", {}), **quantities},
        }

    @model_validator(mode="after")
    def _no_outcome_is_an_input(self) -> "DataDictionary":
        outcomes = {*self.labels, *self.survival.values()}
        for column in self.record:
            if is_outcome(column.name) or column.name in outcomes:
                raise ValueError(f"record column '{column.name}' holds an outcome and must not be an input; remove it")
        return self


class PreparedFile(BaseModel):
    """What `cohort.json` holds at least: the name and digest of the cohort, its hospitals and data dictionary."""

    name: str
    digest: str
    synthetic: bool
    hospitals: list[str]
    dictionary: DataDictionary


def read_dictionary(folder: Path) -> DataDictionary:
    """The data dictionary of a prepared cohort alone, for whoever builds a model and sees no patient."""
    return DataDictionary.model_validate(read_prepared(folder)["dictionary"])


def dictionary_digest(folder: Path) -> str:
    """Of a prepared cohort's data dictionary: what hospitals that train together must agree on."""
    return digest_of(read_dictionary(folder).model_dump(mode="json"))


def read_prepared(folder: Path) -> dict[str, Any]:
    """What `prepare` wrote of a cohort as a whole.

    Raises:
        UserError: if the folder was not written by `prepare`.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(
            f"{folder}: no {FILE}; prepare your cohort first: python -m foundation.data prepare cohort=folder "
            f"cohort.name=NAME cohort.root=FOLDER output={folder} (cohort=demo alone makes synthetic patients)"
        )
    content = read_json(path, _ADVICE)
    validated(PreparedFile, content, path, _ADVICE)
    return content
