"""Studies answered once each, whatever happens in between, and none with another's data."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.data.problems import Problems
from foundation.errors import UserError
from foundation.modalities.image_request import RequestImages, decode_base64
from foundation.modalities.radiology.preparation import ScanSource
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import read_slices
from serve.clinic.document import document_uid
from serve.clinic.report import REPORT
from serve.conversation import RefusedError
from serve.schema import Response
from tests.serve.clinic.conftest import Clinic
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.stub_endpoint import contract, numbers, percent_of, present, texts
from tests.serve.clinic.studies import SyntheticStudy

Make = Callable[..., Clinic]


class KilledError(BaseException):
    """As a kill: nothing after it runs."""


def studies(count: int) -> list[SyntheticStudy]:
    return [SyntheticStudy(number) for number in range(count)]


def files_of(*some: SyntheticStudy) -> list:
    return [dataset for study in some for dataset in study.datasets()]


def expected_body(study: SyntheticStudy, side: int = 256) -> bytes:
    """The request about a study, by training's own reader of a folder."""
    with TemporaryDirectory() as folder:
        for place, dataset in enumerate(study.datasets()):
            dataset.save_as(Path(folder) / f"{place}.dcm", enforce_file_format=True)
        images = read_slices(Path(folder), "dicom", SliceSettings(side=side), Problems())
    return json.dumps({"radiology": contract().schema.modalities["radiology"].write(images)}).encode()


def test_a_study_is_answered_from_training_s_own_reading_of_it_and_the_report_lies_beside_its_images(clinic: Make):
    study = SyntheticStudy(7)
    here = clinic(files_of(study)).run()
    assert here.worklist.counts() == {"asked": 0, "answered": 0, "stored": 1, "refused": 0}
    body = expected_body(study)
    assert here.endpoint.asked == [body]
    (report,) = here.carrier.datasets("SR")
    assert (report.StudyInstanceUID, report.PatientID, report.PatientName) == (study.uid, study.patient, "Synthetic^7")
    assert report.SOPInstanceUID == document_uid(study.uid, "toy", REPORT)
    assert numbers(report) == {"absent": pytest.approx(100 - percent_of(body)), "present": present(body)}
    lines = texts(report)
    assert (
        lines[0]
        == f"Predicted: class: present; absent: {100 - percent_of(body):.1f} %; present: {percent_of(body):.1f} %."
    )
    assert 'With chance 0.9, the truth is in ["present"].' in lines
    assert f"SHA-256 of the model's files: {'m' * 64}" in lines
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    kept = here.worklist.answer(study.uid)
    assert kept is not None and kept["request_id"] == report.SOPInstanceUID


def test_a_second_look_answers_nothing_twice(clinic: Make):
    here = clinic(files_of(*studies(3))).run().restart().run()
    assert len(here.endpoint.asked) == len(here.carrier.stored) == 3


def test_a_worklist_that_was_lost_answers_nothing_twice(clinic: Make):
    here = clinic(files_of(SyntheticStudy(1))).run()
    here.worklist.close()
    for path in here.folder.glob("worklist.sqlite*"):
        path.unlink()
    here.restart().run()
    assert len(here.endpoint.asked) == len(here.carrier.datasets("SR")) == 1
    assert [row.line for row in here.worklist.rows("stored")] == ["the archive has the report already"]


def killed_at(carrier: FakeArchive, moment: int, late: bool) -> Callable[[httpx.Request], None]:
    """Kills at a request to the archive, and at all after it; `late` where a STOW was done, and nobody was told."""
    left = moment

    def countdown(request: httpx.Request) -> None:
        nonlocal left
        left -= 1
        if left == 0 and late and request.method == "POST":
            carrier._store(request)
        if left <= 0:
            raise KilledError

    return countdown


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_kills_at_any_moment_leave_each_study_answered_once_by_its_own_data(data: st.DataObject):
    several = [SyntheticStudy(number, slices=2) for number in range(3)]
    small = {"source": ScanSource(files="*", side=32)}
    with TemporaryDirectory() as folder:
        carrier = FakeArchive(files_of(*several))
        here = Clinic(Path(folder), carrier)
        for _ in range(data.draw(st.integers(0, 4), "kills")):
            moment = data.draw(st.integers(0, 30), "requests until the kill")
            late = data.draw(st.booleans(), "after the archive did it")
            carrier.before = killed_at(carrier, moment, late)
            with contextlib.suppress(KilledError):
                here.restart().run(**small)
        carrier.before = lambda request: None
        here.restart().run(**small)
        here.worklist.close()
    reports = {report.StudyInstanceUID: report for report in carrier.datasets("SR")}
    assert len(carrier.datasets("SR")) == len(reports) == len(several)
    for study in several:
        assert reports[study.uid].PatientID == study.patient
        assert numbers(reports[study.uid])["present"] == present(expected_body(study, 32))


def test_an_answer_to_another_request_is_never_stored(clinic: Make):
    here = clinic(files_of(SyntheticStudy(1)))
    here.endpoint.change = lambda response: response.model_copy(update={"request_id": "another"})
    here.run(failures=2).run(failures=2)
    assert here.refusals == ["the endpoint answered another request than the one that was sent (failed 2 times)"]
    assert here.carrier.stored == []


def test_an_answer_by_another_contract_waits_until_the_request_is_made_by_that(clinic: Make):
    here = clinic(files_of(SyntheticStudy(1)))
    contracts = [contract(digest="d" * 64), contract()]
    here.contract = lambda: contracts.pop(0)
    here.run()
    assert here.worklist.counts()["asked"] == 1 and here.carrier.stored == []
    here.contract = contract
    here.run()
    assert here.worklist.counts()["stored"] == 1


@pytest.mark.parametrize(
    ("status", "runs", "counts"),
    [
        (422, 1, {"asked": 0, "refused": 1}),
        (500, 1, {"asked": 1, "refused": 0}),
        (500, 3, {"asked": 0, "refused": 1}),
        (503, 5, {"asked": 1, "refused": 0}),
        (401, 5, {"asked": 1, "refused": 0}),
    ],
)
def test_what_the_endpoint_refuses_is_refused_and_what_it_fails_on_is_tried_again(
    clinic: Make, status: int, runs: int, counts: dict[str, int]
):
    here = clinic(files_of(SyntheticStudy(1)))

    def refuse(response: Response) -> Response:
        raise RefusedError(status, "radiology[0]: too dark; send another", None)

    here.endpoint.change = refuse
    for _ in range(runs):
        here.run(failures=3)
    assert {name: here.worklist.counts()[name] for name in counts} == counts
    assert here.carrier.stored == []


def test_a_study_that_still_grows_waits(clinic: Make):
    study = SyntheticStudy(1)
    first, *rest = study.datasets()
    here = clinic([first]).run(settle_seconds=30)
    for dataset in rest:
        here.carrier.add(dataset)
    here.run(settle_seconds=30)
    assert here.endpoint.asked == []
    (row,) = here.worklist.rows("asked")
    here.worklist.put_off(row, 0)
    here.run(settle_seconds=30)
    (row,) = here.worklist.rows("asked")
    assert (here.endpoint.asked, row.instances) == ([], 3)


def test_an_archive_that_is_away_costs_no_study_anything(clinic: Make):
    here = clinic(files_of(*studies(2)))

    def away(request: httpx.Request) -> httpx.Response | None:
        if "/instances/" in request.url.path:
            raise httpx.ConnectError("nobody", request=request)
        return None

    here.carrier.before = away
    for _ in range(4):
        here.run(failures=2)
    assert here.worklist.counts() == {"asked": 2, "answered": 0, "stored": 0, "refused": 0}
    here.carrier.before = lambda request: None
    here.run()
    assert here.worklist.counts()["stored"] == 2


def test_an_abstention_holds_no_number(clinic: Make):
    here = clinic(files_of(SyntheticStudy(1)))
    doubt = {"abstain": True, "reasons": ["radiology is unlike the patients learnt from"]}
    here.endpoint.change = lambda response: response.model_copy(update={"reliability": doubt})
    (report,) = here.run(heat_maps=True).carrier.datasets("SR")
    assert here.carrier.stored == [report.SOPInstanceUID], "a heat map says which outcome it explains"
    assert numbers(report) == {}
    assert texts(report)[:2] == [
        "The model abstains.",
        "The model abstains: radiology is unlike the patients learnt from.",
    ]


def test_localizers_and_other_modalities_are_left_out_and_told(clinic: Make):
    study = SyntheticStudy(1)
    scout, dose = (next(replace(study, slices=1).datasets(SeriesNumber=number)) for number in (5, 6))
    scout.ImageType, scout.SeriesInstanceUID, scout.SOPInstanceUID = (
        ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "1.5",
        "1.5.1",
    )
    dose.Modality, dose.SeriesInstanceUID, dose.SOPInstanceUID = "SR", "1.6", "1.6.1"
    for one in (scout, dose):
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    here = clinic([*files_of(study), scout, dose]).run()
    assert here.endpoint.asked == [expected_body(study)]
    report = next(one for one in here.carrier.datasets("SR") if one.SOPInstanceUID != "1.6.1")
    assert "series 5: 1 localizers left out." in texts(report)
    assert "1 series of other modalities left out." in texts(report)


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        ({"Modality": "US"}, "Modality: the study has US; ask about studies with CT, MR"),
        ({"ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"]}, "ImageType: localizers alone; ask about studies with"),
        ({"BurnedInAnnotation": "YES"}, "series 1: BurnedInAnnotation: text is burned into the pixels"),
        ({"RescaleIntercept": None}, "series 1: RescaleIntercept: "),
    ],
)
def test_a_study_that_training_s_reader_refuses_is_refused_by_its_words(
    clinic: Make, tags: dict[str, object], line: str
):
    here = clinic(list(SyntheticStudy(1).datasets(**tags))).run()
    assert here.refusals[0].startswith(line) and "/" not in here.refusals[0]


def test_a_study_on_which_the_service_fails_keeps_no_other_waiting(
    clinic: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    here = clinic(files_of(*studies(3)))
    monkeypatch.setattr("serve.clinic.service.report_file", _fails_on(SyntheticStudy(0).uid))
    here.run(failures=2).run(failures=2)
    assert here.worklist.counts() == {"asked": 0, "answered": 0, "stored": 2, "refused": 1}
    assert "ValueError at" in caplog.text and "secret" not in caplog.text


def _fails_on(study: str) -> Callable[..., bytes]:
    from serve.clinic.report import report_file

    def build(answered, *rest):
        if answered.study == study:
            raise ValueError("secret")
        return report_file(answered, *rest)

    return build


def test_requests_hold_the_images_that_decode_to_training_s_slices():
    images = json.loads(expected_body(SyntheticStudy(3)))["radiology"]
    read = RequestImages([decode_base64(image, "radiology", "a PNG") for image in images], "radiology", [])
    assert len(read) == 3 and read[0].shape == (256, 256, 3)


def test_a_model_of_other_modalities_is_refused():
    from foundation.modalities.report.request import FORM
    from serve.clinic.reading import check_takes_scans

    schema = contract({"report": FORM()}).schema
    with pytest.raises(UserError, match="^bundle: the model takes report, nothing of an archive"):
        check_takes_scans(schema)
