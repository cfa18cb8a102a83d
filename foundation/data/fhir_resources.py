"""FHIR R4: the fields of the three resources that a record is made of.

Own models, not fhir.resources: that validates every field of a resource (67 µs each, 27 MB of models) and so refuses
whole exports for fields nobody reads.
Source: HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/.
"""

import re
from dataclasses import field
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, StrictBool, StrictFloat, StrictInt
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

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
# What is read of a resource; its many other fields are passed over. Slots: an export holds millions of these.
_ASSERTED = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate"
_CONFIG = ConfigDict(extra="ignore", alias_generator=to_camel)


@dataclass(config=_CONFIG, slots=True)
class Coding:
    """A code in a system."""

    system: str = ""
    code: str = ""


@dataclass(config=_CONFIG, slots=True)
class CodeableConcept:
    """One idea in one or more codes."""

    coding: list[Coding] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        """Each as `system|code`."""
        return [f"{coding.system}|{coding.code}" for coding in self.coding]


@dataclass(config=_CONFIG, slots=True)
class Quantity:
    """A number with its unit, `code` being UCUM's."""

    value: StrictFloat | None = None
    comparator: str = ""
    unit: str = ""
    code: str = ""


@dataclass(config=_CONFIG, slots=True)
class Identifier:
    """A number that a hospital gave."""

    system: str = ""
    value: str = ""


@dataclass(config=_CONFIG, slots=True)
class Reference:
    """A pointer to another resource."""

    reference: str = ""


@dataclass(config=_CONFIG, slots=True)
class Period:
    """A span of time."""

    start: Date | None = None
    end: Date | None = None


@dataclass(config=_CONFIG, slots=True)
class Timing:
    """Points in time."""

    event: list[Date] = field(default_factory=list)


@dataclass(config=_CONFIG, slots=True)
class Extension:
    """What a profile adds to a resource."""

    url: str = ""
    value_date_time: Date | None = None


@dataclass(config=_CONFIG, slots=True)
class Link:
    """Another resource of the same person."""

    other: Reference = field(default_factory=Reference)
    type: str = ""


@dataclass(config=_CONFIG, slots=True)
class Patient:
    """A person."""

    id: str = ""
    identifier: list[Identifier] = field(default_factory=list)
    gender: str | None = None
    birth_date: Date | None = None
    deceased_boolean: StrictBool | None = None
    deceased_date_time: Date | None = None
    link: list[Link] = field(default_factory=list)


@dataclass(config=_CONFIG, slots=True)
class Condition:
    """A diagnosis."""

    code: CodeableConcept = field(default_factory=CodeableConcept)
    subject: Reference = field(default_factory=Reference)
    verification_status: CodeableConcept = field(default_factory=CodeableConcept)
    onset_date_time: Date | None = None
    onset_period: Period = field(default_factory=Period)
    recorded_date: Date | None = None
    extension: list[Extension] = field(default_factory=list)

    @property
    def date(self) -> datetime | None:
        """Its onset; where that is unknown the day of diagnosis (mCODE), or else the day it was recorded."""
        asserted = (one.value_date_time for one in self.extension if one.url == _ASSERTED)
        known = (self.onset_date_time, self.onset_period.start, *asserted, self.recorded_date)
        return next((date for date in known if date is not None), None)


@dataclass(config=_CONFIG, slots=True)
class Component:
    """One of the values of an observation that has several, such as a blood pressure."""

    code: CodeableConcept = field(default_factory=CodeableConcept)
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_integer: StrictInt | None = None
    value_string: str | None = None
    value_boolean: StrictBool | None = None


@dataclass(config=_CONFIG, slots=True)
class Observation:
    """A measurement or finding."""

    status: str = ""
    code: CodeableConcept = field(default_factory=CodeableConcept)
    subject: Reference = field(default_factory=Reference)
    effective_date_time: Date | None = None
    effective_instant: Date | None = None
    effective_period: Period = field(default_factory=Period)
    effective_timing: Timing = field(default_factory=Timing)
    component: list[Component] = field(default_factory=list)
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_integer: StrictInt | None = None
    value_string: str | None = None
    value_boolean: StrictBool | None = None

    @property
    def date(self) -> datetime | None:
        """When it was so, or began to be."""
        times = sorted(self.effective_timing.event)
        period = self.effective_period.start or self.effective_period.end
        return self.effective_date_time or self.effective_instant or period or (times[0] if times else None)

    @property
    def last(self) -> datetime | None:
        """When it was last so."""
        times = sorted(self.effective_timing.event)
        return self.effective_period.end or (times[-1] if times else self.date)
