"""The selection of patients and files of a public project, as configured."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.data.portals.cbioportal import Label
from foundation.data.problems import refuse_invalid

Modality = Literal["pathology", "radiology", "expression", "mutations", "copy_number", "record"]
# Barcode codes of sample types: https://gdc.cancer.gov/resources-tcga-users/tcga-code-tables/sample-type-codes
SampleType = Literal[
    "Primary Tumor",
    "Recurrent Tumor",
    "Primary Blood Derived Cancer - Peripheral Blood",
    "Additional - New Primary",
    "Metastatic",
]
_SAMPLE_CODES: dict[SampleType, str] = {
    "Primary Tumor": "01",
    "Recurrent Tumor": "02",
    "Primary Blood Derived Cancer - Peripheral Blood": "03",
    "Additional - New Primary": "05",
    "Metastatic": "06",
}
# Studies of cBioPortal that hold two projects.
_STUDIES = {"coad": "coadread", "read": "coadread"}


class Selection(BaseModel):
    """What is assembled.

    Args:
        project: of the GDC, for example `TCGA-LUAD`.
        modalities: what is received; labels and survival always are.
        patients: at most so many, drawn by seed; all if None. A larger number keeps those of a smaller one.
        complete: whether only patients who have every modality asked for are taken.
        seed: of the draw.
        slides_per_patient: at most so many; all if None.
        series_per_patient: radiology series, the largest first; all if None.
        smallest_series: images below which a series is a localizer.
        dicom_modalities: of radiology.
        sample_types: whose expression, mutations and copy number are read, in order of preference.
        copy_number_genes: symbols; all if empty.
        study: of cBioPortal; the project's PanCancer Atlas study if None.
        collection: of TCIA; called like the project if None.
        labels: made of clinical attributes of the study.
        smallest_hospital: hospitals with fewer patients are pooled.
    """

    model_config = ConfigDict(extra="forbid")

    project: str = Field(pattern=r"^TCGA-[A-Z]{2,4}$")
    modalities: list[Modality] = Field(min_length=1)
    patients: int | None = Field(None, ge=1)
    complete: bool = False
    seed: int = 0
    slides_per_patient: int | None = Field(1, ge=1)
    series_per_patient: int | None = Field(1, ge=1)
    smallest_series: int = Field(10, ge=1)
    dicom_modalities: list[str] = Field(["CT", "MR"], min_length=1)
    sample_types: list[SampleType] = Field(min_length=1)
    copy_number_genes: list[str] = []
    study: str | None = Field(None, pattern=r"^\w+$")
    collection: str | None = None
    labels: dict[str, Label] = {}
    smallest_hospital: int = Field(10, ge=1)

    @property
    def study_or_default(self) -> str:
        """The study of cBioPortal that is asked."""
        code = self.project.removeprefix("TCGA-").lower()
        return self.study or f"{_STUDIES.get(code, code)}_tcga_pan_can_atlas_2018"

    @property
    def sample_codes(self) -> list[str]:
        """The barcode's code of each sample type, in order of preference."""
        return [_SAMPLE_CODES[name] for name in self.sample_types]

    def draw(self, patients: list[str]) -> list[str]:
        """The patients taken, sorted."""
        ranked = sorted(patients, key=lambda patient: hashlib.sha256(f"{self.seed}:{patient}".encode()).digest())
        return sorted(ranked[: self.patients])


def select(settings: dict[str, Any]) -> Selection:
    """A selection of plain settings.

    Raises:
        DataError: naming the first that is wrong.
    """
    try:
        return Selection.model_validate(settings)
    except ValidationError as error:
        about_project = error.errors()[0]["loc"] == ("project",)
        advice = "for example project=TCGA-LUAD" if about_project else "see --help"
        raise refuse_invalid("assemble", error, advice) from error
