"""FHIR R4: the fields of resources that hold what a record does not: texts and images.

Source: HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/.
"""

import base64
import binascii
from dataclasses import field
from datetime import datetime

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from foundation.data.fhir_resources import CodeableConcept, Date, Period, Reference

_CONFIG = ConfigDict(extra="ignore", alias_generator=to_camel)


@dataclass(config=_CONFIG, slots=True)
class Attachment:
    """Content, here or elsewhere."""

    content_type: str = ""
    data: str | None = None
    url: str | None = None

    @property
    def kind(self) -> str:
        """Media type, without parameters."""
        return self.content_type.partition(";")[0].strip().lower()


@dataclass(config=_CONFIG, slots=True)
class DiagnosticReport:
    """A report."""

    status: str = ""
    code: CodeableConcept = field(default_factory=CodeableConcept)
    subject: Reference = field(default_factory=Reference)
    effective_date_time: Date | None = None
    effective_period: Period = field(default_factory=Period)
    issued: Date | None = None
    presented_form: list[Attachment] = field(default_factory=list)
    conclusion: str | None = None

    @property
    def date(self) -> datetime | None:
        """Of what it reports, else of itself."""
        return self.effective_date_time or self.effective_period.start or self.issued

    def text(self) -> str:
        """Its plain text, else its conclusion; empty where it has neither.

        Raises:
            ValueError: if the text is no base64 of UTF-8.
        """
        plain = [form.data for form in self.presented_form if form.kind == "text/plain" and form.data]
        try:
            texts = [base64.b64decode(data, validate=True).decode() for data in plain]
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("no base64 of text in UTF-8") from error
        return "\n".join(texts).strip() or (self.conclusion or "").strip()


@dataclass(config=_CONFIG, slots=True)
class Media:
    """A picture."""

    status: str = ""
    subject: Reference = field(default_factory=Reference)
    modality: CodeableConcept = field(default_factory=CodeableConcept)
    content: Attachment = field(default_factory=Attachment)


@dataclass(config=_CONFIG, slots=True)
class Binary:
    """Content that others refer to."""

    content_type: str = ""
    data: str | None = None


REPORT, MEDIA, BINARY = TypeAdapter(DiagnosticReport), TypeAdapter(Media), TypeAdapter(Binary)
