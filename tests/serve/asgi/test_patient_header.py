"""The header that names a patient: it reaches feedback as it was sent, and nobody else."""

from pathlib import Path
from typing import Any

import pytest

from serve.asgi.app import App
from serve.asgi.http import Exchange
from serve.host import Call, Reply
from tests.serve.asgi.test_app import app, ask, infer, key, predictions  # noqa: F401 (app is a fixture)

PATIENT = "Änna"


class Kept:
    """Takes all, and notes who it was."""

    def __init__(self) -> None:
        self.patients: list[bytes | None] = []

    def keep(self, call: Call, reply: Reply, sent: bytes | None) -> Reply:
        assert call.header("x-patient") is None
        self.patients.append(sent)
        return reply


@pytest.fixture
def feedback(app: App) -> Kept:  # noqa: F811
    app.feedback = kept = Kept()  # type: ignore[assignment]
    return kept


def test_a_worker_is_not_told_who_the_patient_is() -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError

    scope = {"method": "POST", "path": "/", "headers": [(b"x-patient", PATIENT.encode()), (b"x-request-id", b"r-1")]}
    exchange = Exchange(scope, nothing, nothing, "default")
    assert exchange.call.headers == {"x-request-id": "r-1"}
    assert exchange.patient == PATIENT.encode()


def test_an_answer_is_kept_under_the_header_s_bytes(app: App, feedback: Kept, tmp_path: Path) -> None:  # noqa: F811
    assert ask(app, "POST", predictions(app), {"x-patient": PATIENT}, b"{}", key(tmp_path))[0] == 200
    path = f"/v2/models/{app.model}/infer"
    assert ask(app, "POST", path, {"x-patient": PATIENT}, infer(["one"]), key(tmp_path))[0] == 200
    assert ask(app, "POST", path, {}, infer(["one", "two"]), key(tmp_path))[0] == 200
    assert feedback.patients == [PATIENT.encode()] * 2 + [None] * 2


def test_one_id_for_several_patients_is_refused(app: App, feedback: Kept, tmp_path: Path) -> None:  # noqa: F811
    path = f"/v2/models/{app.model}/infer"
    status, _, content = ask(app, "POST", path, {"x-patient": PATIENT}, infer(["one", "two"]), key(tmp_path))
    assert (status, feedback.patients) == (400, [])
    assert content["error"] == "X-Patient: one id for 2 patients; send each in a call of its own"
