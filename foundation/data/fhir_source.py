"""The declaration of a FHIR export: which resources make which column of the record."""

from typing import Literal

from pydantic import Field, model_validator

from foundation.data.dictionary import is_outcome
from foundation.data.fhir_resources import parse_date
from foundation.data.strict import Strict, Word

_PATHS = ("patient.gender", "patient.age_at")


class FhirColumn(Strict):
    """One column of the record: from the patient, an observation or a condition (give one of the three).

    Args:
        path: `patient.gender`, or `patient.age_at` in years.
        at: for the age: a date, or `system|code` of a Condition, at whose first onset; the source's index if None.
        observation: `system|code` of an Observation, or of a component of one.
        component: `system|code` of the component that is read of that observation, where its code alone is not enough.
        condition: `system|code`; 1 where the patient has it, else 0.
        unit: UCUM code of the observation's quantity; another unit is refused.
        bounds: whether `<5` counts as 5; refused otherwise.
        values: code (`system|code` or `code`), text or gender → value.
        pick: which of several observations.
        window: days after the index, first and last, outside which nothing is read.
    """

    path: str | None = None
    at: str | None = None
    observation: str | None = Field(None, pattern=r"\|")
    component: str | None = Field(None, pattern=r"\|")
    condition: str | None = Field(None, pattern=r"\|")
    unit: str | None = None
    bounds: bool = False
    values: dict[Word, str | int | float] | None = None
    pick: Literal["first", "last", "closest-to-index"] = "first"
    window: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "FhirColumn":
        if sum(way is not None for way in (self.path, self.observation, self.condition)) != 1:
            raise ValueError("give one of path, observation and condition")
        if self.path is not None and self.path not in _PATHS:
            outcome = " holds an outcome, which is never an input;" if "deceased" in self.path.lower() else ":"
            raise ValueError(f"path '{self.path}'{outcome} give {' or '.join(_PATHS)}")
        if self.observation is not None and (self.unit is None) == (self.values is None):
            raise ValueError("an observation needs unit (a quantity's; '1' for none) or values (a code's)")
        if self.component is not None and self.observation is None:
            raise ValueError("component needs observation, of which it is a part")
        if self.at is not None and "|" not in self.at:
            parse_date(self.at)
        return self

    @property
    def codes(self) -> tuple[str | None, ...]:
        """Those that it reads."""
        return self.observation, self.component, self.condition, self.at


class FhirSource(Strict):
    """One hospital's FHIR export.

    Args:
        files: a glob in its folder: Bundles (`.json`) and bulk exports (`.ndjson`), also with `.gz`; or the tables of
            another form.
        form: `omop` (the common data model's tables) or `synthea` (its CSV), whose events are read as FHIR's.
        identifier: system of the identifier that is the patient's id in all files; the resource's own id by default.
        index: `system|code` of the Condition whose first onset is day zero.
        columns: of the record; none where only patients and survival are read.
    """

    files: str
    form: Literal["fhir", "omop", "synthea"] = "fhir"
    identifier: str = "id"
    index: str | None = Field(None, pattern=r"\|")
    columns: dict[str, FhirColumn] = Field({})

    @model_validator(mode="after")
    def _no_outcome_no_gap(self) -> "FhirSource":
        for name, column in self.columns.items():
            if is_outcome(name):
                raise ValueError(f"column '{name}' is named like an outcome, which is never an input")
            timed = column.window is not None or column.pick == "closest-to-index"
            if self.index is None and (timed or (column.path == "patient.age_at" and column.at is None)):
                raise ValueError(f"column '{name}' needs index, the Condition whose onset is day zero")
        return self
