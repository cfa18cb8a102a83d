"""A FHIR Bundle as a request: what preparation reads of it, whose it is, and what of it is told to be left out."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.data.cohort import Cohort
from foundation.data.fhir import read_fhir
from foundation.modalities.request import RequestError
from serve.client import to_request
from serve.fhir.reading import Reading, read_bundle
from serve.predictor import Predictor
from tests.foundation.data.fhir_exports import ldh, observation, patient
from tests.serve.fhir.bundles import DECLARATION, GRADE, PATHOLOGY, body, media, report, whole

Resources = list[dict[str, Any]]


@pytest.fixture(scope="module")
def picture(predictor: Predictor, cohort: Cohort, complete: str) -> str:
    text: str = to_request(cohort.sample(complete), predictor.schema)["pathology"][0]
    return text


def read(resources: Resources, predictor: Predictor) -> Reading:
    return read_bundle(body(resources), DECLARATION, predictor.schema)


def test_a_bundle_is_the_request_that_says_the_same(predictor: Predictor, picture: str):
    reading = read(whole(picture), predictor)
    assert reading.request == {
        "record": {"age": pytest.approx(60, abs=0.01), "sex": "F", "grade": "G3", "ldh": 240.0},
        "report": "Diffuse glioma.\n\nAtypia.",
        "pathology": [picture],
        "radiology": [picture],
    }
    assert reading.subject == {
        "reference": "Patient/a",
        "identifier": {"system": DECLARATION.identifier, "value": "N-a"},
    }
    assert set(reading.basis) == {f"urn:uuid:{place}" for place in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11)}
    assert reading.warnings == [
        "not read: 1 Observations of codes that no column has, 1 Conditions or Observations refuted or retracted, "
        "1 ImagingStudy resources"
    ]


def test_preparation_reads_the_same_values(predictor: Predictor, picture: str, tmp_path: Path):
    (tmp_path / "bundle").write_bytes(body(whole(picture)))
    (tmp_path / "bundle").rename(tmp_path / "bundle.json")
    source = DECLARATION.source.model_copy(update={"files": "bundle.json", "identifier": DECLARATION.identifier})
    prepared = read_fhir(tmp_path, source).loc["N-a"].to_dict()
    assert read(whole(picture), predictor).request["record"] == prepared


def test_order_of_entries_changes_nothing_that_is_read(predictor: Predictor, picture: str):
    resources = whole(picture)
    assert read(resources[::-1], predictor).request == read(resources, predictor).request


def without(kind: str) -> Callable[[Resources], Resources]:
    return lambda resources: [one for one in resources if one["resourceType"] != kind]


def adding(*more: Any) -> Callable[[Resources], Resources]:
    return lambda resources: [*resources, *more]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (without("Patient"), "bundle", "no Patient among the resources"),
        (adding(patient("b", "1970", "male")), "entry", "2 Patients"),
        (adding(ldh("b", 1, "2020-05-01")), "entry[13].subject", "refers to no patient of the export (Patient/b)"),
        (adding(ldh("a", 1, "2020-05-01", "mg/dL")), "entry[13].valueQuantity.unit", "unit is not the declared 'U/L'"),
        (adding(observation("a", GRADE, "2020-01-01", valueString="?")), "entry[13].value[x]", "none of low, high"),
        (adding(report("b", "Another's.")), "entry[13].subject.reference", "refers to no Patient of the Bundle"),
        (adding(report("a", "?", None)), "entry[13].effectiveDateTime", "one of several reports has no date"),
        (adding(media("b", PATHOLOGY, data="x")), "entry[13].subject.reference", "refers to no Patient of the Bundle"),
        (adding(media("a", PATHOLOGY, data=3)), "entry[13].content.data", "Input should be a valid string"),
        (adding({"id": "x"}), "entry[13].resourceType", "no resource type"),
        (adding(3), "entry[13].resourceType", "no resource type"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused_by_entry_and_field(
    change: Callable[[Resources], Resources], field: str, reason: str, predictor: Predictor, picture: str
):
    with pytest.raises(RequestError) as refused:
        read(change(whole(picture)), predictor)
    assert refused.value.field == field
    assert refused.value.reason.startswith(reason)


HERE, THERE = "https://here.example/fhir", "https://there.example/fhir"


def of_servers(patient_url: str | None, other_url: str | None, reference: str, other: dict[str, Any]) -> bytes:
    """A patient and something that refers to them, each by its full URL, where it has one."""
    resources = [patient("a", "1960-03-01", "female"), other | {"subject": {"reference": reference}}]
    urls = ({} if url is None else {"fullUrl": url} for url in (patient_url, other_url))
    entries = [{**url, "resource": one} for url, one in zip(urls, resources, strict=True)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


@pytest.mark.parametrize(
    "other", [ldh("a", 210, "2020-03-02"), report("a", "Atypia.")], ids=lambda one: one["resourceType"]
)
@pytest.mark.parametrize(
    ("patient_url", "other_url", "reference", "reads"),
    [
        (f"{HERE}/Patient/a", f"{HERE}/Observation/1", f"{THERE}/Patient/a", False),
        (f"{HERE}/Patient/a", f"{THERE}/Observation/1", "Patient/a", False),
        (f"{HERE}/Patient/a", f"{THERE}/Observation/1", f"{HERE}/Patient/a/_history/2", True),
        (f"{HERE}/Patient/a", f"{HERE}/Observation/1", "Patient/a", True),
        (f"{HERE}/Patient/a", "urn:uuid:1", "Patient/a", True),
        ("urn:uuid:0", f"{HERE}/Observation/1", "urn:uuid:0", True),
        ("urn:uuid:0", "urn:uuid:1", "Patient/a", True),
        ("urn:uuid:0", "urn:uuid:1", f"{THERE}/Patient/a", False),
        ("urn:uuid:0", f"{THERE}/Observation/1", "Patient/a", False),
        (None, "urn:uuid:1", f"{THERE}/Patient/a", False),
        (None, None, "Patient/a", True),
    ],
)
def test_the_same_id_on_another_server_is_another_patient(
    patient_url: str | None,
    other_url: str | None,
    reference: str,
    reads: bool,
    other: dict[str, Any],
    predictor: Predictor,
):
    content = of_servers(patient_url, other_url, reference, other)
    if reads:
        basis = read_bundle(content, DECLARATION, predictor.schema).basis
        assert basis[-1] == (other_url or f"{other['resourceType']}/{other.get('id', '')}")
        return
    with pytest.raises(RequestError, match="refers to a Patient of another server") as refused:
        read_bundle(content, DECLARATION, predictor.schema)
    assert refused.value.field == "entry[1].subject.reference"


def test_a_patient_without_id_is_referred_to_by_url_alone(predictor: Predictor):
    nameless = {key: value for key, value in patient("a", "1960-03-01", "female").items() if key != "id"}
    with pytest.raises(RequestError, match="refers to no Patient of the Bundle"):
        read([nameless, report("None", "Nobody's.")], predictor)


def test_a_picture_that_does_not_say_whose_it_is_is_refused(predictor: Predictor, picture: str):
    nobody = {key: value for key, value in media("a", PATHOLOGY, data=picture).items() if key != "subject"}
    with pytest.raises(RequestError, match="does not say whose it is"):
        read([*whole(picture), nobody], predictor)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"resourceType": "Patient"}', "resourceType"),
        (b'{"report": "Atypia."}', "resourceType"),
        (b'{"resourceType": "Bundle"}', "entry"),
        (b'{"resourceType": "Bundle", "entry": []}', "entry"),
        (b'{"resourceType": "Bundle", "entry": [3]}', "entry[0].resource"),
        (
            b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": ["Patient"]}}]}',
            "entry[0].resourceType",
        ),
        (b"[]", "request"),
        (b'{"resourceType": "Bundle", "resourceType": "Bundle"}', "resourceType"),
    ],
)
def test_what_is_no_bundle_is_refused(content: bytes, field: str, predictor: Predictor):
    with pytest.raises(RequestError) as refused:
        read_bundle(content, DECLARATION, predictor.schema)
    assert refused.value.field == field


def test_what_is_left_out_is_told(predictor: Predictor):
    resources = [
        patient("a", "1960-03-01", "female"),
        report("a", None),
        report("a", "Never meant.", status="entered-in-error"),
        report("a", "Of another kind.", code={"coding": [{"system": "urn:x", "code": "y"}]}),
        media("a", PATHOLOGY, url="https://archive/7"),
        media("a", PATHOLOGY, contentType="application/dicom", data="AAAA"),
        media("a", "urn:dcm|US", data="AAAA"),
    ]
    reading = read(resources, predictor)
    assert reading.request == {"record": {"sex": "F"}}
    assert reading.warnings == [
        "record: the Bundle tells nothing of age, grade, ldh",
        "not read: 1 DiagnosticReports entered-in-error, 1 DiagnosticReports of codes that are not declared, "
        "1 DiagnosticReports without plain text or conclusion, 1 Media whose picture is not in the Bundle, "
        "1 Media of application/dicom, 1 Media of a modality that is not declared",
    ]


def test_a_bundle_with_nothing_for_the_model_is_refused_and_told_why(predictor: Predictor):
    nobody = {"resourceType": "Patient", "id": "a"}
    with pytest.raises(RequestError, match="nothing in it that the model takes; it takes pathology, .*1 ImagingStudy"):
        read([nobody, {"resourceType": "ImagingStudy"}], predictor)


def test_a_replaced_patient_is_the_one_that_replaced_them(predictor: Predictor):
    link = [{"other": {"reference": "Patient/a"}, "type": "replaces"}]
    old = patient("a", "1960-03-01", "female")
    new = patient("b", "1960-03-01", "female", link=link)
    reading = read([old, new, ldh("a", 210, "2020-03-02")], predictor)
    assert reading.subject["reference"] == "Patient/b"
    assert reading.request["record"] == {"sex": "F", "ldh": 210.0}


def test_a_body_s_digest_is_of_its_bytes(predictor: Predictor, picture: str):
    one, other = body(whole(picture)), json.dumps(json.loads(body(whole(picture))), indent=1).encode()
    digests = {read_bundle(content, DECLARATION, predictor.schema).digest for content in (one, other)}
    assert len(digests) == 2
    for same in (bytearray(one), one.decode()):  # TorchServe hands over the former
        assert read_bundle(same, DECLARATION, predictor.schema).digest == hashlib.sha256(one).hexdigest()
