"""The Genomic Data Commons: patients and open files of a project.

Interface: https://docs.gdc.cancer.gov/API/Users_Guide/Search_and_Retrieval/
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, Field, StringConstraints

from foundation.data.portals.attempts import plain_url
from foundation.data.portals.cases import Case
from foundation.data.portals.transfer import Download, Transfer
from foundation.data.problems import refuse

PORTAL = "gdc"
PAGE = 1000
# What makes a file one of a modality, as the GDC calls it.
KINDS: dict[str, dict[str, str]] = {
    "pathology": {"data_type": "Slide Image", "experimental_strategy": "Diagnostic Slide"},
    "expression": {"data_type": "Gene Expression Quantification", "analysis.workflow_type": "STAR - Counts"},
    "mutations": {"data_type": "Masked Somatic Mutation"},
}
# The barcode's code of tissue source site and participant: TCGA-05-4244.
PATIENT = r"^[A-Z0-9]+-[A-Z0-9]{2}-[A-Z0-9]{4}$"
_REPORT = "report it to the GDC"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]*")
Hit = TypeVar("Hit", bound=BaseModel)


class _Pagination(BaseModel):
    total: int = Field(ge=0)


class _Data(BaseModel, Generic[Hit]):
    hits: list[Hit]
    pagination: _Pagination


class _Page(BaseModel, Generic[Hit]):
    data: _Data[Hit]


class _Status(BaseModel):
    data_release: str


class _Sample(BaseModel):
    submitter_id: str


class _CaseOfFile(BaseModel):
    submitter_id: Annotated[str, StringConstraints(pattern=PATIENT)]
    samples: list[_Sample] = []


class File(BaseModel):
    """One file of the GDC.

    Args:
        id: UUID.
        file_name: as the GDC names it.
        file_size: bytes.
        md5sum: of it.
        access: `open` or `controlled`.
        cases: whose it is.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{36}$")]
    file_name: str
    file_size: int = Field(ge=0)
    md5sum: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    access: str
    cases: list[_CaseOfFile] = Field(min_length=1, max_length=1)

    @property
    def patient(self) -> str:
        """Whose it is."""
        return self.cases[0].submitter_id

    def sample(self, codes: list[str]) -> tuple[int, str] | None:
        """Place in `codes`, and barcode, of the sample that is preferred; None if all are of other types.

        A mutation file is of a normal sample too.
        """
        barcodes = [sample.submitter_id for sample in self.cases[0].samples]
        kinds = [(barcode.removeprefix(f"{self.patient}-")[:2], barcode) for barcode in barcodes]
        return min(((codes.index(kind), barcode) for kind, barcode in kinds if kind in codes), default=None)


class Gdc:
    """The portal.

    Args:
        transfer: asks it.
        url: of the interface.
        project: for example `TCGA-LUAD`.
    """

    def __init__(self, transfer: Transfer, url: str, project: str) -> None:
        self._transfer, self._url, self._project = transfer, url.rstrip("/"), project

    def release(self) -> str:
        """The data release that answers."""
        return self._transfer.ask(PORTAL, f"{self._url}/status", _Status).data_release

    def cases(self) -> list[Case]:
        """All patients of the project, by id.

        Raises:
            DataError: if the project has none.
        """
        patients = list(self._pages("cases", Case, {"project.project_id": self._project}, "submitter_id"))
        if not patients:
            advice = "give a project of the GDC, for example project=TCGA-LUAD"
            raise refuse(f"{self._url}/cases", "no patient", advice, field="project", value=self._project)
        return patients

    def files(self, modality: str, codes: list[str]) -> list[File]:
        """Open files of a modality, a patient's preferred one first.

        Args:
            modality: of `KINDS`.
            codes: of the barcode, for the sample types of which a file must have one, in order of preference.

        Raises:
            DataError: if a file that is not open is among them, or has a name that is none.
        """
        where = f"{plain_url(self._url)}/files"
        wanted = {"cases.project.project_id": self._project, "access": "open", **KINDS[modality]}
        kept = []
        for file in self._pages("files", File, wanted, "file_id"):
            about = f"file {file.id}"
            if file.access != "open":
                raise refuse(where, f"{about} is not open", _REPORT, "access", value=file.access)
            if not _PLAIN_NAME.fullmatch(file.file_name):
                raise refuse(where, f"{about} has no plain name", _REPORT, "file_name", value=file.file_name)
            # Diagnostic slides are of the tumour, whatever the type of their block.
            sample = (0, "") if modality == "pathology" else file.sample(codes)
            if sample is not None:
                kept.append((sample, file.file_name, file.id, file))
        return [file for *_, file in sorted(kept, key=lambda each: each[:3])]

    def download(self, file: File, modality: str) -> Download:
        """How a file is received: slides to their usual place, tables to where they are joined from."""
        place = f"slides/{file.patient}" if modality == "pathology" else f"downloads/gdc/{modality}/{file.id}"
        return Download(
            url=f"{self._url}/data/{file.id}",
            path=f"{place}/{file.file_name}",
            kind=modality,
            portal=PORTAL,
            id=file.id,
            patient=file.patient,
            bytes=file.file_size,
            md5=file.md5sum,
        )

    def _pages(self, endpoint: str, shape: type[Hit], wanted: dict[str, str], order: str) -> Iterator[Hit]:
        url, start = f"{self._url}/{endpoint}", 0
        key, seen = "id" if order == "file_id" else order, set[str]()
        while True:
            body: dict[str, Any] = {
                "filters": {
                    "op": "and",
                    "content": [{"op": "in", "content": {"field": key, "value": [wanted[key]]}} for key in wanted],
                },
                "fields": ",".join(name for name in field_names(shape) if name != "id"),  # which always comes
                "format": "JSON",
                "sort": f"{order}:asc",
                "from": start,
                "size": PAGE,
            }
            data = self._transfer.ask(PORTAL, url, _Page[shape], body=body).data  # type: ignore[valid-type]
            for hit in data.hits:
                name = getattr(hit, key)
                if name in seen:
                    again = "start again with refresh=true"
                    raise refuse(plain_url(url), "stands twice in the list", again, field=key, value=name)
                seen.add(name)
                yield hit
            start += len(data.hits)
            if start >= data.pagination.total:
                return
            if not data.hits:
                finding = f"the list ends at {start} of {data.pagination.total}"
                raise refuse(plain_url(url), finding, "start again with refresh=true", field="pagination")


def field_names(model: type[BaseModel]) -> Iterator[str]:
    """Names of a model's fields, as the GDC asks for them: `diagnoses.tumor_grade`."""
    for name, field in model.model_fields.items():
        inner = next((part for part in (*get_args(field.annotation), field.annotation) if _is_model(part)), None)
        yield from [name] if inner is None else [f"{name}.{each}" for each in field_names(inner)]


def _is_model(part: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(part, type) and issubclass(part, BaseModel)
