"""The answer as FHIR R4, held against the models of fhir.resources; and a Bundle through the host's own call."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from serve import host, manifest
from serve.client import to_request
from serve.fhir.declaration import FILE, load_declaration, read_declaration
from serve.fhir.reading import Reading
from serve.fhir.writing import write_bundle
from serve.host import Call
from serve.monitoring.usage import Usage
from serve.predictor import Predictor
from serve.schema import Digests, ExaminedPart, Response
from tests.foundation.data.fhir_exports import patient
from tests.serve.conftest import alike
from tests.serve.fhir.bundles import COLUMNS, DECLARATION, body, report, whole

NOW = datetime(2026, 11, 27, 3, 25, tzinfo=UTC)
READING = Reading({}, {"reference": "Patient/a"}, ["urn:uuid:0"], [], "d" * 64)
CLASSES = {"class": "high", "probabilities": {"low": 0.25, "high": 0.75}}
SURVIVAL = {"risk_score": 0.5, "risk_group": "high", "survival": {"365_days": 0.9, "730_days": 0.6}}
COMPETING = {
    "incidence": {"disease": {"365_days": 0.2}, "other_cause": {"365_days": 0.3}},
    "event_free": {"365_days": 0.5},
    "risk_group": {"disease": "low", "other_cause": "high"},
}
SURE = {"region": ["high"], "coverage": 0.9, "out_of_distribution": {"report": 0.5}, "abstain": False, "reasons": []}


def response(prediction: dict[str, Any], reliability: dict[str, Any] | None = None) -> Response:
    return Response(
        request_id="case-17",
        model="ours",
        version="abc",
        release="0.1.0",
        digests=Digests(model="m" * 64, contract="c" * 64),
        task="biomarker",
        prediction=prediction,
        reliability=reliability,
        modalities_used=["report"],
        modalities_ignored=["record"],
        examined={"report": ExaminedPart(what="word pieces", examined=5, of=9)},
        warnings=["record.age: 99 lies beyond"],
        synthetic=True,
    )


def resources(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (CLASSES, [("class: high", None, None), ("low", 25.0, None), ("high", 75.0, None)]),
        (
            SURVIVAL,
            [
                ("risk score: 0.5", None, None),
                ("biomarker", None, "high"),
                ("without the event after 365 days", 90.0, None),
                ("without the event after 730 days", 60.0, None),
            ],
        ),
        ({"labels": {"IDH1": 0.07}}, [("IDH1", 7.0, None)]),
        (
            COMPETING,
            [
                ("disease first, within 365 days", 20.0, None),
                ("other cause first, within 365 days", 30.0, None),
                ("no event after 365 days", 50.0, None),
                ("disease", None, "low"),
                ("other cause", None, "high"),
            ],
        ),
        ({"value": 3.25, "unit": "mm"}, [("value: 3.25", None, None), ("unit: mm", None, None)]),
    ],
)
def test_predictions_stand_where_fhir_has_them(prediction: dict[str, Any], expected: list[Any]):
    assessment = resources(write_bundle(response(prediction, SURE), READING, NOW))["RiskAssessment"]
    assert [
        (one["outcome"]["text"], one.get("probabilityDecimal"), one.get("qualitativeRisk", {}).get("text"))
        for one in assessment["prediction"]
    ] == expected


def test_the_answer_names_patient_model_sources_and_limits():
    bundle = write_bundle(response(CLASSES, SURE), READING, NOW)
    each, names = resources(bundle), {one["resource"]["resourceType"]: one["fullUrl"] for one in bundle["entry"]}
    assessment, provenance = each["RiskAssessment"], each["Provenance"]
    assert assessment["subject"] == each["DiagnosticReport"]["subject"] == READING.subject
    assert assessment["basis"] == [{"reference": "urn:uuid:0"}]
    assert assessment["performer"]["reference"] == names["Device"] == provenance["agent"][0]["who"]["reference"]
    assert [one["reference"] for one in provenance["target"]] == [names["RiskAssessment"], names["DiagnosticReport"]]
    assert [one["what"]["identifier"]["value"] for one in provenance["entity"]] == ["d" * 64, "m" * 64, "c" * 64]
    assert bundle["timestamp"] == provenance["recorded"] == "2026-11-27T03:25:00.000+00:00"
    assert [note["text"] for note in assessment["note"]] == [
        'With chance 0.9, the truth is in ["high"].',
        "report: 0.50 out of distribution (above 1: unlike the patients learnt from).",
        "Rests on report (5 of 9 word pieces).",
        "Not looked at: record.",
        "record.age: 99 lies beyond.",
        "The model was trained on synthetic patients alone: no clinical meaning.",
        "Research software: not a medical device.",
    ]
    assert each["DiagnosticReport"]["conclusion"].startswith("Predicted: class: high; low: 25.0 %; high: 75.0 %.\n")


def test_where_the_model_abstains_no_number_is_sent():
    abstaining = {**SURE, "abstain": True, "reasons": ["report unlike any learnt from"]}
    each = resources(write_bundle(response(CLASSES, abstaining), READING, NOW))
    assert "prediction" not in each["RiskAssessment"]
    assert each["RiskAssessment"]["note"][0]["text"] == "The model abstains: report unlike any learnt from."
    assert each["DiagnosticReport"]["conclusion"].startswith("The model abstains.\n")
    assert not re.search(r"0\.75|75\.0|\b75\b", json.dumps(each))


@pytest.mark.parametrize(
    "prediction", [CLASSES, SURVIVAL, COMPETING, {"labels": {"IDH1": 0.5}}, {"value": 3.25, "unit": "mm"}]
)
@pytest.mark.parametrize("reliability", [None, SURE, {**SURE, "abstain": True, "reasons": ["?"]}])
def test_the_answer_is_fhir_by_another_s_models(prediction: dict[str, Any], reliability: dict[str, Any] | None):
    oracle = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is an oracle of tests alone")
    bundle = write_bundle(response(prediction, reliability), READING, NOW)
    assert len(oracle.Bundle.model_validate(bundle).entry) == 4


@pytest.fixture(scope="module")
def reading_fhir(predictor: Predictor) -> Predictor:
    return Predictor(predictor.schema, predictor.model, predictor.digests, DECLARATION)


def test_hosts_answer_a_bundle_beside_requests_of_their_own_form(
    reading_fhir: Predictor, cohort: Cohort, complete: str
):
    request = to_request(cohort.sample(complete), reading_fhir.schema)
    fhir = {"Content-Type": "application/fhir+json; fhirVersion=4.0", "X-Request-ID": "case-17"}
    plain = {"report": "Diffuse glioma.\n\nAtypia.", "pathology": request["pathology"][:1]}
    plain |= {"radiology": request["pathology"][:1], "record": {"sex": "F", "grade": "G3", "ldh": 240.0}}
    resources_sent = whole(request["pathology"][0])
    plain["record"]["age"] = reading_fhir.read_fhir(body(resources_sent)).request["record"]["age"]  # type: ignore[union-attr]
    calls = [Call(json.dumps(plain).encode(), {}, "one"), Call(body(resources_sent), fhir, "two")]
    calls += [Call(b"{}", fhir, "three"), Call(b"{", fhir, "four")]
    own, answered, *refused = host.answer(reading_fhir, calls)
    assert (answered.status, answered.headers["content-type"]) == (200, "application/fhir+json")
    bundle = json.loads(answered.body)
    assert bundle["identifier"]["value"] == "case-17" == answered.headers["x-request-id"]
    prediction = json.loads(own.body)["prediction"]
    risks = resources(bundle)["RiskAssessment"]["prediction"]
    sent = {one["outcome"]["text"]: one["probabilityDecimal"] for one in risks if "probabilityDecimal" in one}
    assert alike(sent, {name: 100 * chance for name, chance in prediction["probabilities"].items()})
    assert own.counted is not None and alike(own.counted, answered.counted)
    usage = Usage()
    usage.add(answered.status, answered.counted)
    assert usage.answered == 1
    assert [(one.status, one.headers["content-type"]) for one in refused] == [
        (422, "application/problem+json"),
        (400, "application/problem+json"),
    ]


def test_an_answer_that_cannot_be_written_fails_nobody_else(reading_fhir: Predictor, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise TypeError("a patient's value")

    monkeypatch.setattr("serve.fhir.writing.write_bundle", fail)
    fhir = {"Content-Type": "application/fhir+json"}
    calls = [
        Call(b'{"report": "Atypia."}', {}, "one"),
        Call(body([patient("a", "1960", "female"), report("a", "Atypia.")]), fhir, "two"),
    ]
    plain, unwritten = host.answer(reading_fhir, calls)
    assert (plain.status, unwritten.status) == (200, 500)
    assert b"a patient's value" not in unwritten.body and unwritten.counted is None


def test_a_model_without_a_declaration_says_so(predictor: Predictor):
    (reply,) = host.answer(predictor, [Call(b"{}", {"content-type": "application/fhir+json"}, "r")])
    assert reply.status == 415
    assert json.loads(reply.body)["reason"] == "this model was exported without a declaration of FHIR"


def test_the_declaration_travels_in_the_bundle_under_its_manifest(predictor: Predictor, tmp_path: Path):
    path = tmp_path / "fhir.yaml"
    path.write_text(json.dumps(DECLARATION.model_dump(exclude_none=True)))
    declaration = read_declaration(path, predictor.schema)
    assert declaration == DECLARATION
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / FILE).write_text(declaration.model_dump_json(exclude_none=True))
    manifest.write(tmp_path / "bundle")
    assert load_declaration(tmp_path / "bundle") == DECLARATION
    (tmp_path / "bundle" / FILE).write_text("{}")
    with pytest.raises(UserError, match=r"fhir\.json: changed since"):
        load_declaration(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"columns": {"age": {"path": "patient.age_at"}}}, "column 'age' needs index"),
        ({"columns": {"weight": COLUMNS["ldh"]}}, "columns.weight: no column of the model; it takes age, sex"),
        ({"columns": {"sex": {"path": "patient.gender", "values": {"female": "W"}}}}, "the model has no value W"),
        ({"images": {"genomes": ["a|b"]}}, "images.genomes: no modality of the model"),
        ({"images": {"pathology": ["SM"]}}, "images.pathology.0"),
        ({"colums": {}}, "colums"),
        ([], "Input should be"),
    ],
)
def test_a_declaration_that_does_not_fit_is_one_line(predictor: Predictor, tmp_path: Path, content: Any, reason: str):
    path = tmp_path / "fhir.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"fhir\.yaml: .*") as refused:
        read_declaration(path, predictor.schema)
    assert reason in str(refused.value)
