"""The endpoint shows the card that its bundle holds, beside answers of one batch, and says so where it has none."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from serve import manifest
from serve.bundle import write_bundle
from serve.card_endpoint import Card
from serve.host import Call
from serve.predictor import Predictor
from serve.torchserve.consilium_handler import ConsiliumHandler
from serve.verification import verify_bundle


@pytest.fixture
def carrying(tmp_path: Path) -> Path:
    """A folder with a card's documents, where a bundle has them."""
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "card.html").write_text("<p>Café</p>", encoding="utf-8")
    (tmp_path / "card" / "chai.xml").write_text("<AppliedModelCard/>")
    manifest.write(tmp_path)
    return tmp_path


def call(accept: str | None, body: bytes = b"") -> Call:
    return Call(body, {} if accept is None else {"Accept": accept, "X-Request-ID": "asked-1"}, "host-1")


@pytest.mark.parametrize(
    ("accept", "kind", "body"),
    [
        ("text/html", "text/html; charset=utf-8", "<p>Café</p>"),
        ("Text/HTML;q=0.9, application/json", "text/html; charset=utf-8", "<p>Café</p>"),
        ("application/xml", "application/xml", "<AppliedModelCard/>"),
    ],
)
def test_an_empty_request_that_accepts_a_document_gets_it(carrying: Path, accept: str, kind: str, body: str):
    reply = Card.load(carrying).reply(call(accept))
    assert reply is not None
    assert (reply.status, reply.headers["content-type"], reply.body.decode()) == (200, kind, body)
    assert reply.headers["x-request-id"] == "asked-1"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html/../../run.json", ""])
def test_other_requests_are_for_the_model(carrying: Path, accept: str | None):
    assert Card.load(carrying).reply(call(accept)) is None


def test_a_patient_is_answered_whatever_is_accepted(carrying: Path):
    assert Card.load(carrying).reply(call("text/html", b'{"report": "Atypia."}')) is None


def test_the_card_is_read_once_and_only_as_it_was_exported(carrying: Path):
    card = Card.load(carrying, manifest.seal(carrying))
    path = carrying / "card" / "card.html"
    path.write_text("better")
    reply = card.reply(call("text/html"))
    assert reply is not None and reply.body.decode() == "<p>Café</p>"
    with pytest.raises(UserError, match=r"card\.html: changed since"):
        Card.load(carrying)
    path.unlink()
    with pytest.raises(UserError, match=r"card\.html: missing"):
        Card.load(carrying)
    (carrying / "card" / "card.pdf").write_text("%PDF")
    manifest.write(carrying)
    with pytest.raises(UserError, match="another bundle lies there by now"):
        Card.load(carrying, "0" * 64)


def test_a_document_that_is_not_there_is_said_in_the_words_of_a_problem(carrying: Path):
    reply = Card.load(carrying).reply(call("application/pdf"))
    assert reply is not None and reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    problem = json.loads(reply.body)
    assert (problem["field"], problem["reason"]) == ("Accept", "this model has no application/pdf card")


class Context:
    """What TorchServe hands to a handler, as far as it is asked."""

    def __init__(self, headers: list[dict[str, str]]) -> None:
        self.headers, self.status = headers, dict[int, int]()
        self.kinds = dict[int, str]()

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return self.headers[index]

    def get_request_id(self, index: int) -> str:
        return f"host-{index}"

    def set_response_status(self, status: int, phrase: str, index: int) -> None:
        self.status[index] = status

    def set_response_header(self, index: int, name: str, value: str) -> None:
        if name == "content-type":
            self.kinds[index] = value


def test_a_batch_of_patients_and_readers_is_answered_in_order(carrying: Path, predictor: Predictor):
    handler: Any = ConsiliumHandler()
    handler.card, handler.predictor = Card.load(carrying), predictor
    context = Context([{}, {"accept": "text/html"}, {"accept": "text/markdown"}, {}])
    rows = [{"body": b'{"report": "Atypia."}'}, {}, {}, {"body": b'{"report": 3}'}]
    bodies = handler.handle(rows, context)
    assert context.status == {0: 200, 1: 200, 2: 404, 3: 422}
    assert context.kinds[1] == "text/html; charset=utf-8"
    assert json.loads(bodies[0])["modalities_used"] == ["report"] and bodies[1].decode() == "<p>Café</p>"


def test_a_bundle_holds_its_card_under_the_manifest(run: Path, cohort: Cohort, carrying: Path, tmp_path: Path):
    plain = write_bundle(run, tmp_path / "plain", None, cohort)
    schema = write_bundle(run, tmp_path / "bundle", None, cohort, carrying / "card")
    assert schema.version == plain.version  # the card is about the model, no part of it
    assert {"card/card.html", "card/chai.xml"} <= manifest.verify(tmp_path / "bundle").keys()
    (tmp_path / "bundle" / "card" / "card.html").write_text("better")
    with pytest.raises(Exception, match=r"card\.html: changed since"):
        verify_bundle(tmp_path / "bundle")
