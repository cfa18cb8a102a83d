"""The places of a hospital's files: as declared, else the usual ones, which need no declaration.

Patients are in `patients.csv` (or another form of table): `patient_id`, labels, survival. Each modality's
`preparation.py` says its own places.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, SerializeAsAny, Tag, create_model

from foundation.data.fhir_source import FhirSource
from foundation.data.packages import modules
from foundation.data.problems import refuse
from foundation.data.strict import Strict
from foundation.data.tables import TableSource

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".csv.gz", ".tsv.gz")


def _one_or_many(declared: Any) -> str:
    return "(list)" if isinstance(declared, list) else "(one)"


def _form(declared: Any) -> str:
    files = isinstance(declared, FhirSource) or (isinstance(declared, dict) and "files" in declared)
    return "(FHIR)" if files else "(table)"


ONE_OR_MANY = Discriminator(_one_or_many)
# Told apart by `files`, so that an error is one of the form that was meant.
RowSource = Annotated[
    Annotated[TableSource, Tag("(table)")] | Annotated[FhirSource, Tag("(FHIR)")], Discriminator(_form)
]


class Sources(Strict):
    """Where the patients lie, and in `sources_model()` each modality; None looks in the usual places."""

    patients: RowSource | None = None


AnySources = SerializeAsAny[Sources]


@cache
def sources_model() -> type[Sources]:
    """`sources` of `cohort.yaml`, with the fields of every modality."""
    each = sorted((module.PREPARATION for module in modules("preparation").values()), key=lambda one: one.storage.order)
    fields: dict[str, Any] = {
        field: (kind | None, None) for preparation in each for field, kind in preparation.sources.items()
    }
    model: type[Sources] = create_model("Sources", __base__=Sources, **fields)
    return model


def usual_table(folder: Path, stem: str, more: tuple[str, ...] = ()) -> str | None:
    """The table of that name in a hospital's folder.

    Args:
        folder: of the hospital.
        stem: of the table's name.
        more: endings that it may have besides those of any table.

    Raises:
        DataError: if there are two.
    """
    names = [f"{stem}{suffix}" for suffix in (*TABLES, *more) if (folder / f"{stem}{suffix}").is_file()]
    if len(names) > 1:
        raise refuse(folder, f"both {names[0]} and {names[1]}", "keep one, or declare which under sources")
    return names[0] if names else None


def usual_patients(folder: Path) -> TableSource:
    """The patients' table; the only one that must be there."""
    return TableSource(file=usual_table(folder, "patients") or "patients.csv")
