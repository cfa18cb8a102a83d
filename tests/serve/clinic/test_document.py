"""What documents take over from images: names of every script, odd tags, and no value of them in any warning."""

import io
import warnings
from collections.abc import Callable

import pydicom
import pytest

from foundation.modalities.radiology.preparation import ScanSource
from tests.serve.clinic.conftest import Clinic
from tests.serve.clinic.studies import SyntheticStudy

SMALL = ScanSource(files="*", side=32)
Make = Callable[..., Clinic]


def documents(clinic: Make, **tags: object) -> list[pydicom.Dataset]:
    """Report and heat map of a study with these tags, as another program reads them."""
    datasets = list(SyntheticStudy(5, slices=2).datasets(**tags))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = clinic(datasets).run(heat_maps=True, source=SMALL)
    assert here.refusals == [] and here.worklist.rows("asked") == []
    new = list(here.carrier.files.values())[len(datasets) :]
    return [pydicom.dcmread(io.BytesIO(content)) for content in new]


@pytest.mark.parametrize("name", ["Søren^Åse", "王^小東", "", "Doe"])
def test_names_of_every_script_come_back_as_they_were(clinic: Make, name: str):
    for document in documents(clinic, PatientName=name, SpecificCharacterSet="ISO_IR 192"):
        assert document.PatientName == name


def test_a_name_in_another_encoding_is_the_same_name(clinic: Make):
    for document in documents(clinic, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"):
        assert (document.PatientName, document.SpecificCharacterSet) == ("Müller^Jörg", "ISO_IR 192")


def test_the_issuer_of_the_id_goes_along(clinic: Make):
    for document in documents(clinic, IssuerOfPatientID="WARD"):
        assert document.IssuerOfPatientID == "WARD"


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientBirthDate": "UNKNOWN"},
        {"PatientBirthDate": None},
        {"PatientSex": "female"},
        {"StudyTime": "noon", "StudyDate": "2026.01.02"},
        {"AccessionNumber": "A" * 40, "StudyID": ""},
        {"ReferringPhysicianName": None, "PatientName": None},
    ],
    ids=str,
)
def test_odd_tags_of_an_image_keep_no_report_from_it(clinic: Make, tags: dict[str, str | None]):
    for document in documents(clinic, **tags):
        assert (document.PatientID, document.StudyInstanceUID) == ("P000005", SyntheticStudy(5).uid)


def test_documents_of_a_study_are_the_same_whenever_they_are_made(clinic: Make):
    uids = [document.SOPInstanceUID for document in documents(clinic)]
    assert uids == [
        "2.25.125061178203740404859479265629090862459",  # of study, slice and model
        "2.25.185495678974863444566818590322095564712",  # of study and model
    ]
