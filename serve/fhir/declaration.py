"""What of a FHIR Bundle is which part of a request: declared at the export, in the words of preparation."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from foundation.data.fhir_source import FhirColumn, FhirSource
from foundation.data.problems import refuse_invalid
from foundation.data.strict import Strict
from foundation.documents import read_yaml
from foundation.errors import UserError
from serve import manifest
from serve.schema import BundleSchema

FILE = manifest.FHIR
RECORD, REPORT = "record", "report"
_ADVICE = "see README, FHIR"
Code = Annotated[str, Field(pattern=r".\|.")]


class FhirDeclaration(Strict):
    """Which resources make which input.

    Args:
        identifier: system of the identifier by which answers name the patient, beside the reference.
        index: `system|code` of the Condition whose first onset is day zero, as of a hospital's `sources.record`.
        columns: of the record, likewise.
        reports: `system|code` of the DiagnosticReports whose text is read; all are if None.
        images: by modality, `system|code` of the `modality` of the Media that belong to it.
    """

    identifier: str = "id"
    index: str | None = Field(None, pattern=r"\|")
    columns: dict[str, FhirColumn] = Field({})
    reports: list[Code] | None = None
    images: dict[str, list[Code]] = Field({})

    @property
    def source(self) -> FhirSource:
        """The record's part, as preparation takes it."""
        return FhirSource(files="bundle", index=self.index, columns=self.columns)

    def check(self, schema: BundleSchema, where: Path) -> None:
        """Holds it against what the model takes.

        Raises:
            UserError: naming the field that does not fit.
        """
        for name in self.images.keys() - schema.modalities.keys():
            known = ", ".join(schema.modalities)
            raise UserError(f"{where}: images.{name}: no modality of the model; it takes {known}")
        form: Any = schema.modalities.get(RECORD)
        columns = {} if form is None else {column.name: column for column in form.columns}
        for name, column in self.columns.items():
            if name not in columns:
                known = ", ".join(columns) or "no record"
                raise UserError(f"{where}: columns.{name}: no column of the model; it takes {known}")
            values = columns[name].values
            wrong = [
                value for value in (column.values or {}).values() if values is not None and str(value) not in values
            ]
            if wrong:
                raise UserError(f"{where}: columns.{name}: the model has no value {wrong[0]}; give {', '.join(values)}")


def read_declaration(path: Path, schema: BundleSchema) -> FhirDeclaration:
    """A declaration in YAML.

    Raises:
        UserError: naming the field that is none, or that the model does not take.
    """
    content = read_yaml(path, _ADVICE)
    try:
        declaration = FhirDeclaration.model_validate(content)
        _ = declaration.source
    except ValidationError as error:
        raise refuse_invalid(path, error, _ADVICE) from error
    declaration.check(schema, path)
    return declaration


def load_declaration(bundle: Path) -> FhirDeclaration | None:
    """The declaration of a verified bundle; None where it was exported without.

    Raises:
        UserError: if the file is none of this release.
    """
    content = manifest.read_file(bundle, FILE)
    try:
        return None if content is None else FhirDeclaration.model_validate_json(content)
    except ValidationError as error:
        raise refuse_invalid(bundle / FILE, error, "export the model again") from error
