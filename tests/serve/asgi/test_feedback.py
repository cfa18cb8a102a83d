"""Hosts started with `asgi.feedback` and `asgi.shadow`: what goes out, and what is kept after the stop."""

from pathlib import Path

import pytest
import requests

from foundation.ports import free_ports
from serve.asgi import launch
from serve.feedback.declared import Declared, _outputs
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.store import Store
from serve.schema import BundleSchema
from serve.server import stop

pytestmark = pytest.mark.process
PATIENT = "Änna"


@pytest.mark.parametrize(("shadow", "status"), [(False, 200), (True, 202)])
def test_a_host_keeps_its_answers_and_in_the_shadow_gives_none(
    shadow: bool, status: int, bundle: Path, tmp_path: Path
) -> None:
    schema, folder, output = BundleSchema.load(bundle), tmp_path / "feedback", tmp_path / "serve"
    outputs, classes = _outputs(schema)
    facts = {"outputs": outputs, "classes": classes, "brier": dict.fromkeys(outputs, 0.5), "calibration": 0.1}
    declared = {"name": schema.name, "version": schema.version, "abstained": 0.5, "flagged": {}, "level": 0.05}
    FeedbackLedger(folder).declare(Declared.model_validate(facts | declared))
    (port,) = free_ports(1)
    server = launch.start(bundle, schema, output, port, start_seconds=60, feedback=str(folder), shadow=shadow)
    try:
        headers = {"Authorization": f"Bearer {server.token()}", "X-Patient": PATIENT.encode()}
        headers["Content-Type"] = "application/json"
        reply = requests.post(server.address, data=b'{"report": "Atypia."}', headers=headers, timeout=60)
    finally:
        assert stop(output)
    assert reply.status_code == status and ("prediction" in reply.json()) is not shadow
    (row,) = Store(folder).asked(schema.version).itertuples()
    assert (row.patient, row.shadow) == (Store(folder).name_of(PATIENT), int(shadow))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PATIENT.encode() in path.read_bytes()]
