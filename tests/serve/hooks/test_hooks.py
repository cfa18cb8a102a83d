"""CDS Hooks at the application, in process: discovery, calls about one patient and nobody else, and cards."""

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from foundation.modalities.record.request import ColumnsForm
from foundation.modalities.report.request import TextForm
from foundation.modalities.request import RequestError
from serve.asgi.app import App
from serve.asgi.pool import Limits, Pool
from serve.asgi.tokens import Tokens
from serve.fhir.reading import Reading, read_bundle
from serve.fhir.writing import write_bundle
from serve.hooks.discovery import discover
from serve.host import Call, Reply, to_reply
from serve.key_file import write_key_file
from serve.monitoring.observer import Observer
from serve.openapi import describe
from serve.schema import BundleSchema, Digests, ExaminedPart, Response
from tests.foundation.data.fhir_exports import GLIOMA, LDH, condition, ldh, observation, patient
from tests.serve.fhir.bundles import DECLARATION, GRADE, PATHOLOGY, RADIOLOGY, REPORT, report
from tests.serve.hooks.standard import CARDS, DISCOVERY

EHR = "https://ehr.example.org/fhir"
PATIENT = "{{context.patientId}}"
PREFETCH = {
    "patient": f"Patient/{PATIENT}",
    "conditions": f"Condition?patient={PATIENT}&code={GLIOMA}",
    "observations": f"Observation?patient={PATIENT}&code={','.join(sorted([GRADE, LDH]))}",
    "reports": f"DiagnosticReport?patient={PATIENT}&code={REPORT}",
    "media": f"Media?patient={PATIENT}&modality={','.join(sorted([PATHOLOGY, RADIOLOGY]))}",
}
COLUMNS = [
    {"name": "age", "kind": "continuous"},
    {"name": "ldh", "kind": "continuous"},
    {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
    {"name": "grade", "kind": "categorical", "values": ["G1", "G3"]},
]
SCHEMA = BundleSchema(
    name="toy",
    version="v1",
    task="biomarker",
    prediction={},
    synthetic=True,
    modalities={"record": ColumnsForm.model_validate({"columns": COLUMNS}), "report": TextForm()},
)
Ask = Callable[..., tuple[int, Any]]


def response(request_id: str, **reliability: Any) -> Response:
    return Response(
        request_id=request_id,
        model="toy",
        version="v1",
        release="0.1.0",
        digests=Digests(model="m" * 64, contract="c" * 64),
        task="biomarker",
        prediction={"class": "high", "probabilities": {"low": 0.25, "high": 0.75}},
        reliability={"abstain": False, **reliability},
        modalities_used=["record"],
        modalities_ignored=[],
        examined={"record": ExaminedPart(what="columns", examined=2, of=4)},
        warnings=[],
        synthetic=True,
    )


class FhirPool(Pool):
    """Reads Bundles as a worker does, and answers each alike.

    Attributes:
        read: what was read, in order.
        reliability: of the answers.
        status: given instead of an answer, where it is set.
    """

    def __init__(self) -> None:
        super().__init__([], Limits())
        self.read: list[Reading] = []
        self.reliability: dict[str, Any] = {}
        self.status: int | None = None

    async def answer(self, call: Call) -> Reply:
        assert call.kind == "application/fhir+json"
        if self.status is not None:
            return to_reply(RequestError("request", "busy", "later", self.status), call.request_id)
        try:
            reading = read_bundle(call.body, DECLARATION, SCHEMA)
        except RequestError as error:
            return to_reply(error, call.request_id)
        self.read.append(reading)
        answer = response(call.request_id, **self.reliability)
        return to_reply(answer, call.request_id, lambda one: write_bundle(one, reading))


FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


@pytest.fixture
def pool() -> FhirPool:
    return FhirPool()


@pytest.fixture
def app(tmp_path: Path, pool: FhirPool) -> App:
    write_key_file(tmp_path / "key_file.json")
    observer = Observer(tmp_path, None, {"version": "v1"})
    tokens = Tokens(tmp_path / "key_file.json")
    return App("toy", "v1", describe(SCHEMA), pool, tokens, observer, discover(SCHEMA, DECLARATION))


@pytest.fixture
def ask(app: App, tmp_path: Path) -> Ask:
    token = json.loads((tmp_path / "key_file.json").read_text())["inference"]["key"]

    def asked(path: str, content: Any = None, method: str = "POST", key: str = token) -> tuple[int, Any]:
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(content).encode(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    return asked


def searched(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    entries = [
        {"fullUrl": f"{EHR}/{one['resourceType']}/{place}", "resource": one} for place, one in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **more}


def call(**changes: Any) -> dict[str, Any]:
    """As an electronic record sends it when a patient is opened."""
    grade = observation("a", GRADE, "2020-03-02", valueString="high")
    prefetch = {
        "patient": patient("a", "1960-03-01", "female"),
        "conditions": searched(condition("a", GLIOMA, "2020-03-01")),
        "observations": searched(ldh("a", 210.5, "2020-03-02"), grade),
        "reports": searched(report("a", "Atypia.", "2020-04-01")),
        "media": None,
        **changes.pop("prefetch", {}),
    }
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": EHR,
        "context": {"userId": "Practitioner/1", "patientId": "a"},
        "prefetch": prefetch,
        **changes,
    }


def test_discovery_offers_one_service_and_asks_for_what_the_model_reads(ask: Ask):
    status, content = ask("/cds-services", method="GET")
    assert status == 200
    Draft202012Validator(DISCOVERY).validate(content)
    (service,) = content["services"]
    assert (service["hook"], service["id"], service["prefetch"]) == ("patient-view", "toy", PREFETCH)


def test_a_bundle_without_a_declaration_of_fhir_offers_nothing():
    assert discover(SCHEMA, None) == {"services": []}


def test_a_call_is_answered_from_what_came_with_it(ask: Ask, pool: FhirPool):
    status, content = ask("/cds-services/toy", call())
    assert status == 200
    Draft202012Validator(CARDS).validate(content)
    (card,) = content["cards"]
    assert card["summary"] == "Predicted: class: high; low: 25.0 %; high: 75.0 %."
    assert (card["indicator"], card["source"]) == ("info", {"label": "toy v1 (Consilium)"})
    assert "- Research software: not a medical device." in card["detail"].split("\n")
    (reading,) = pool.read
    assert reading.request == {
        "record": {"age": pytest.approx(60, abs=0.01), "sex": "F", "grade": "G3", "ldh": 210.5},
        "report": "Atypia.",
    }
    assert reading.subject["reference"] == "Patient/a"


def test_an_abstention_is_a_warning_without_a_number(ask: Ask, pool: FhirPool):
    pool.reliability = {"abstain": True, "reasons": ["several classes are left: *low*, high"]}
    _, content = ask("/cds-services/toy", call())
    Draft202012Validator(CARDS).validate(content)
    (card,) = content["cards"]
    assert (card["summary"], card["indicator"]) == ("The model abstains.", "warning")
    assert "%" not in card["detail"]
    assert r"several classes are left: \*low\*, high" in card["detail"], "nothing of it is taken for markdown"


@pytest.mark.parametrize(
    ("prefetch", "words"),
    [
        ({"patient": patient("b", "1960-03-01", "female")}, "another patient than context.patientId"),
        ({"observations": searched(ldh("b", 210.5, "2020-03-02"))}, "refers to no patient of the export"),
        ({"reports": searched(report("b", "Atypia.", "2020-04-01"))}, "refers to no Patient of the Bundle"),
        ({"observations": searched(patient("b", "1960-03-01", "male"))}, "another patient than context.patientId"),
        ({"observations": searched(ldh("a", 210.5, "2020-03-02", unit="mg/dL"))}, "unit"),
        ({"media": searched(ldh("a", 999.0, "2020-03-02"))}, "another content than an earlier query's resource"),
        ({"reports": "text"}, "give an object"),
    ],
    ids=["other patient", "other's value", "other's report", "two patients", "unit", "two values", "no resource"],
)
def test_what_is_refused_is_told_on_a_card(ask: Ask, pool: FhirPool, prefetch: dict[str, Any], words: str):
    status, content = ask("/cds-services/toy", call(prefetch=prefetch))
    assert status == 200
    Draft202012Validator(CARDS).validate(content)
    (card,) = content["cards"]
    assert card["indicator"] == "warning" and card["summary"].startswith("No answer: ")
    assert words in card["detail"].replace("\\", "")
    assert pool.read == []


def test_the_same_id_at_another_server_is_another_patient(ask: Ask, pool: FhirPool):
    foreign = searched(ldh("a", 210.5, "2020-03-02"))
    foreign["entry"][0]["fullUrl"] = "https://elsewhere.example.org/fhir/Observation/1"
    _, content = ask("/cds-services/toy", call(prefetch={"observations": foreign}))
    assert "refers to a Patient of another server" in content["cards"][0]["detail"]
    assert pool.read == []


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"hook": "order-sign"}, 400, "hook"),
        ({"hookInstance": "1"}, 400, "hookInstance"),
        ({"hookInstance": None}, 400, "hookInstance"),
        ({"context": {"userId": "Practitioner/1"}}, 400, "context.patientId"),
        ({"context": {"patientId": "../a"}}, 400, "context.patientId"),
        ({"prefetch": {"patient": None}}, 412, "prefetch.patient"),
        ({"prefetch": {"observations": FAILED}}, 412, "prefetch.observations"),
        ({"prefetch": {"observations": searched(FAILED)}}, 412, "prefetch.observations.entry[0]"),
        ({"prefetch": {"reports": searched(link=[{"relation": "next", "url": EHR}])}}, 412, "prefetch.reports"),
    ],
)
def test_what_the_caller_must_mend_is_a_status(ask: Ask, changes: dict[str, Any], status: int, field: str):
    answered, content = ask("/cds-services/toy", call(**changes))
    assert (answered, content["field"]) == (status, field)


def test_a_call_without_prefetch_is_told_to_send_it(ask: Ask):
    content = call()
    del content["prefetch"]
    status, problem = ask("/cds-services/toy", content)
    remedy = "send what the service's prefetch at /cds-services asks for"
    assert (status, problem["field"], problem["remedy"]) == (412, "prefetch", remedy)


def test_a_release_in_the_shadow_shows_no_card(ask: Ask, app: App, pool: FhirPool):
    keeper = SimpleNamespace(keep=lambda call, reply, sent: Reply(202, b'{"kept": true}', {}))
    app.feedback = keeper  # type: ignore[assignment]
    assert ask("/cds-services/toy", call()) == (200, {"cards": []})
    assert len(pool.read) == 1


@pytest.mark.parametrize("name", PREFETCH)
def test_a_query_that_was_not_made_is_no_empty_one(ask: Ask, pool: FhirPool, name: str):
    content = call()
    del content["prefetch"][name]
    status, problem = ask("/cds-services/toy", content)
    assert (status, problem["field"], pool.read) == (412, f"prefetch.{name}", [])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_not_ready_is_no_card(ask: Ask, pool: FhirPool, status: int):
    pool.status = status
    assert ask("/cds-services/toy", call())[0] == status


def test_nobody_without_a_token_learns_or_asks_anything(ask: Ask, pool: FhirPool):
    assert ask("/cds-services", method="GET", key="wrong")[0] == 401
    assert ask("/cds-services/toy", call(), key="wrong")[0] == 401
    assert pool.read == []


def test_calls_stand_in_the_audit_trail(ask: Ask, tmp_path: Path):
    ask("/cds-services/toy", call())
    ask("/cds-services/toy", call(hook="order-sign"))
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines if "status" in line] == [200, 400]


def test_another_service_is_nowhere(ask: Ask):
    assert ask("/cds-services/other", call())[0] == 404
