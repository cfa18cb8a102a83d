"""FHIR R4: the fields of the three resources that a record is made of.

Own models, not fhir.resources: that validates every field of a resource (67 µs each, 27 MB of models) and so refuses
whole exports for fields nobody reads.
Source: HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/.
"""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


def parse_date(value: Any) -> datetime:
    """A FHIR date or dateTime in local time.

    A year alone stands for its 1 July, a month for its 15th: at most half a year, or half a month, off.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("no FHIR date (YYYY, YYYY-MM, YYYY-MM-DD or a dateTime)")
    middle = {4: "-07-01", 7: "-15"}.get(len(value), "")
    return datetime.fromisoformat(value + middle).replace(tzinfo=None)


Date = Annotated[datetime, BeforeValidator(parse_date)]


class Part(BaseModel):
    """What is read of a resource; the many fields that are not are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel)


class Coding(Part):
    """A code in a system."""

    system: str = ""
    code: str = ""


class CodeableConcept(Part):
    """One idea in one or more codes."""

    coding: list[Coding] = []

    @property
    def codes(self) -> list[str]:
        """Each as `system|code`."""
        return [f"{coding.system}|{coding.code}" for coding in self.coding]


class Quantity(Part):
    """A number with its unit, `code` being UCUM's."""

    value: float | None = None
    comparator: str = ""
    unit: str = ""
    code: str = ""


class Identifier(Part):
    """A number that a hospital gave."""

    system: str = ""
    value: str = ""


class Reference(Part):
    """A pointer to another resource."""

    reference: str = ""


class Period(Part):
    """A span of time."""

    start: Date | None = None


class Patient(Part):
    """A person."""

    id: str = ""
    identifier: list[Identifier] = []
    gender: str | None = None
    birth_date: Date | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: Date | None = None


class Condition(Part):
    """A diagnosis."""

    code: CodeableConcept = Field(default_factory=CodeableConcept)
    subject: Reference = Field(default_factory=Reference)
    verification_status: CodeableConcept = Field(default_factory=CodeableConcept)
    onset_date_time: Date | None = None
    onset_period: Period = Field(default_factory=Period)
    recorded_date: Date | None = None

    @property
    def date(self) -> datetime | None:
        """Its onset; the day it was recorded where that is unknown."""
        return self.onset_date_time or self.onset_period.start or self.recorded_date


class Observation(Part):
    """A measurement or finding."""

    status: str = ""
    code: CodeableConcept = Field(default_factory=CodeableConcept)
    subject: Reference = Field(default_factory=Reference)
    effective_date_time: Date | None = None
    effective_period: Period = Field(default_factory=Period)
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_integer: int | None = None
    value_string: str | None = None
    value_boolean: bool | None = None

    @property
    def date(self) -> datetime | None:
        """When it was so."""
        return self.effective_date_time or self.effective_period.start
