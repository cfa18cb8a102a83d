"""No study is answered that is not, or not surely, of the patient it was asked about."""

from collections.abc import Callable

import httpx
import pytest
from pydicom.dataset import Dataset

from serve.schema import Response
from tests.serve.clinic.conftest import Clinic
from tests.serve.clinic.studies import SyntheticStudy

Make = Callable[..., Clinic]


def files_of(*some: SyntheticStudy) -> list[Dataset]:
    return [dataset for study in some for dataset in study.datasets()]


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        ({"PatientID": "OTHER"}, "PatientID: 2 patients in one study; mend it in the archive, then ask again"),
        ({"PatientID": ""}, "PatientID: 2 patients in one study; mend it in the archive, then ask again"),
        ({"PatientBirthDate": "19800101"}, "PatientBirthDate: 2 of them under one PatientID; mend it"),
        ({"PatientSex": "O"}, "PatientSex: 2 of them under one PatientID; mend it"),
        ({"IssuerOfPatientID": "WARD"}, None),
    ],
)
def test_series_of_two_people_in_one_study_are_refused(clinic: Make, tags: dict[str, str], line: str | None):
    one, other = list(SyntheticStudy(4, slices=1, series=2).datasets())
    for name, value in tags.items():
        setattr(other, name, value)
    here = clinic([one, other]).run()
    if line is None:  # one of two series says an issuer: no contradiction
        assert here.worklist.counts()["stored"] == 1
        return
    (refusal,) = here.refusals
    assert refusal.startswith(line)
    assert here.endpoint.asked == [] and here.carrier.stored == []


def test_a_study_that_was_asked_about_as_another_patient_s_is_refused(clinic: Make):
    study = SyntheticStudy(4)
    here = clinic(files_of(study))
    here.worklist.ask(study.uid, "P999999")
    here.run(find=None)
    assert here.refusals == [
        "PatientID: another patient's than whose it was asked about as; mend it in the archive, then ask again"
    ]
    here.worklist.ask_again(study.uid, study.patient)
    here.run(find=None)
    assert here.worklist.counts()["stored"] == 1


def test_a_study_that_becomes_another_patient_s_before_it_is_stored_is_refused(clinic: Make):
    study = SyntheticStudy(4)
    here = clinic(files_of(study))

    def merged(response: Response) -> Response:
        here.carrier.files = {}
        for dataset in study.datasets(PatientID="P999999"):
            here.carrier.add(dataset)
        return response

    here.endpoint.change = merged
    here.run()
    assert here.carrier.stored == []
    assert here.refusals[0].startswith("PatientID: another patient's")


def test_an_archive_that_sends_another_instance_is_not_believed(clinic: Make):
    one, other = SyntheticStudy(1), SyntheticStudy(2)
    here = clinic(files_of(one, other))
    wrong = next(other.datasets()).SOPInstanceUID

    def mixed_up(request: httpx.Request) -> httpx.Response | None:
        own = "/instances/" in request.url.path and one.uid in request.url.path
        return here.carrier._file(wrong) if own else None

    here.carrier.before = mixed_up
    here.run()
    (refusal,) = here.refusals
    assert refusal.startswith("SOPInstanceUID: the archive sent another instance than the one asked for;")
    assert {report.StudyInstanceUID for report in here.carrier.datasets("SR")} == {other.uid}
