"""A patient as the GDC describes them: the outcome, and what was known at diagnosis.

Overall survival: days from diagnosis to death, or to the last follow-up of those alive (Liu et al. 2018, OS).
"""

from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

_UNKNOWN = {"", "--", "not reported", "unknown", "unspecified", "not applicable", "not allowed to collect"}
_DAYS_A_YEAR = 365.25
RECORD = ("age", "sex", "race", "stage", "grade", "histology")


def _known(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in _UNKNOWN else value


Text = Annotated[str | None, BeforeValidator(_known)]
Days = Annotated[float | None, BeforeValidator(_known)]


class _Demographic(BaseModel):
    vital_status: Text = None
    days_to_death: Days = None
    gender: Text = None
    sex_at_birth: Text = None
    race: Text = None
    age_at_index: Days = None


class _Diagnosis(BaseModel):
    age_at_diagnosis: Days = None
    days_to_last_follow_up: Days = None
    ajcc_pathologic_stage: Text = None
    figo_stage: Text = None
    tumor_grade: Text = None
    primary_diagnosis: Text = None
    diagnosis_is_primary_disease: Annotated[bool | None, BeforeValidator(_known)] = None
    classification_of_tumor: Text = None

    @property
    def primary(self) -> bool:
        """Whether it is of the tumour that the project is about; later ones know the outcome."""
        return self.diagnosis_is_primary_disease is True or (self.classification_of_tumor or "").lower() == "primary"


class _FollowUp(BaseModel):
    days_to_follow_up: Days = None


class _Site(BaseModel):
    code: Text = None
    name: Text = None


class Case(BaseModel):
    """One patient of the GDC, fields as `/cases` names them."""

    submitter_id: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+-[A-Z0-9]{2}-[A-Z0-9]{4}$")]
    demographic: _Demographic = _Demographic()
    diagnoses: list[_Diagnosis] = Field([])
    follow_ups: list[_FollowUp] = Field([])
    tissue_source_site: _Site = _Site()

    @property
    def hospital(self) -> str:
        """The tissue source site: by name where the portal gives it, else by the barcode's code."""
        return self.tissue_source_site.name or f"tss_{self.submitter_id.split('-')[1].lower()}"

    def survival(self) -> tuple[int | None, float | None]:
        """Whether dead, and days to that or to the last follow-up; both None unless both are known."""
        status = (self.demographic.vital_status or "").lower()
        seen = [each.days_to_last_follow_up for each in self.diagnoses]
        seen += [each.days_to_follow_up for each in self.follow_ups]
        known = [days for days in seen if days is not None]
        if status == "dead":
            event, days = 1, self.demographic.days_to_death
        elif status == "alive":
            event, days = 0, max(known, default=None)
        else:
            return None, None
        return (None, None) if days is None or days < 0 else (event, days)

    def record(self) -> dict[str, float | str | None]:
        """What was known at diagnosis, by `RECORD`; age in years."""
        diagnosis = next((each for each in self.diagnoses if each.primary), None)
        diagnosis = diagnosis or next(iter(self.diagnoses), _Diagnosis())
        days, index = diagnosis.age_at_diagnosis, self.demographic.age_at_index
        return {
            "age": index if days is None else round(days / _DAYS_A_YEAR, 2),
            "sex": self.demographic.gender or self.demographic.sex_at_birth,
            "race": self.demographic.race,
            "stage": diagnosis.ajcc_pathologic_stage or diagnosis.figo_stage,
            "grade": diagnosis.tumor_grade,
            "histology": diagnosis.primary_diagnosis,
        }


def patients_table(cases: list[Case], labels: dict[str, dict[str, float]]) -> pd.DataFrame:
    """A row a patient: hospital, survival, labels.

    Args:
        cases: the patients.
        labels: name → patient → 0 or 1.
    """
    outcomes = [case.survival() for case in cases]
    table = pd.DataFrame(
        {
            "patient_id": [case.submitter_id for case in cases],
            "hospital": [case.hospital for case in cases],
            "os_event": pd.array([event for event, _ in outcomes], dtype="Int64"),
            "os_days": pd.array([days for _, days in outcomes], dtype="Float64"),
        }
    )
    for name, values in labels.items():
        table[name] = pd.array([values.get(case.submitter_id) for case in cases], dtype="Int64")
    return table


def record_table(cases: list[Case]) -> pd.DataFrame:
    """A row a patient: what was known at diagnosis."""
    return pd.DataFrame([{"patient_id": case.submitter_id, **case.record()} for case in cases])


def dictionary_columns(record: pd.DataFrame) -> list[dict[str, Any]]:
    """The data dictionary's entries of the record; a column in which nothing is known has none."""
    columns: list[dict[str, Any]] = [{"name": "age", "kind": "continuous", "center": 60.0, "scale": 12.0}]
    for name in RECORD[1:]:
        columns.append({"name": name, "kind": "categorical", "values": sorted(record[name].dropna().unique())})
    return [column for column in columns if record[column["name"]].notna().any()]
