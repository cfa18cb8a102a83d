"""Whatever one request does, its neighbours get the answers that they get alone."""

import base64
import io
import json
import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foundation.modalities.request import RequestError
from serve import host
from serve.bundle import largest_difference
from serve.predictor import Predictor
from serve.schema import Response

GOOD = '{"report": "Nuclear atypia is high."}'


def png(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def check_neighbours(predictor: Predictor, body: Any, status: int) -> RequestError:
    """Sends a body between two good ones; they are answered as alone."""
    (alone,) = predictor.answer([GOOD])
    first, error, last = predictor.answer([GOOD, body, GOOD])
    for neighbour in (first, last):
        assert isinstance(neighbour, Response) and isinstance(alone, Response)
        assert largest_difference(neighbour.prediction, alone.prediction) < 1e-6
    assert isinstance(error, RequestError)
    assert error.status == status
    return error


@pytest.mark.parametrize("text", ["\u200b", "\0", "\u0301"])
def test_a_report_without_a_word_piece_rests_on_nothing_and_is_refused(predictor: Predictor, text: str):
    error = check_neighbours(predictor, json.dumps({"report": text}), 422)
    assert str(error) == "report: no word pieces in it; send something to look at, or leave it out"


def test_a_transform_that_fails_costs_its_own_request(predictor: Predictor, monkeypatch, caplog):
    def fail(*arguments: Any) -> None:
        raise KeyError("61 years")

    monkeypatch.setattr(predictor.model.encoder.modalities["record"], "transform", fail)
    with caplog.at_level(logging.ERROR):
        error = check_neighbours(predictor, '{"record": {"age": 61}}', 500)
    assert str(error).startswith("request: the server failed on it; send it again")
    assert "KeyError at " in caplog.text and "61" not in caplog.text.split("KeyError")[1].split(":")[0]
    assert "61 years" not in caplog.text


def test_a_model_that_fails_on_one_request_answers_the_others(predictor: Predictor, monkeypatch):
    record = predictor.model.encoder.modalities["record"]
    forward = record.forward

    def fail(inputs: Any) -> Any:
        if bool((inputs["number"] > 5).any()):
            raise RuntimeError("out of memory")
        return forward(inputs)

    monkeypatch.setattr(record, "forward", fail)
    check_neighbours(predictor, '{"record": {"age": 500}}', 500)


def test_an_answer_that_is_not_finite_is_that_request_s_refusal(predictor: Predictor, monkeypatch):
    record = predictor.model.encoder.modalities["record"]
    transform = record.transform

    def overflow(raw: Any, generator: Any) -> Any:
        inputs = transform(raw, generator)
        return inputs | {"number": inputs["number"] * float("inf")}

    monkeypatch.setattr(record, "transform", overflow)
    error = check_neighbours(predictor, '{"record": {"age": 61}}', 422)
    assert str(error) == "record: its values lead to no finite answer; check values and units"


def test_many_pixels_are_refused_before_any_is_decoded(predictor: Predictor, monkeypatch):
    bomb = png(Image.new("1", (8192, 8192), 1))
    assert len(bomb) < 40_000
    monkeypatch.setattr("foundation.modalities.image_request.to_rgb", lambda *_: pytest.fail("decoded"))
    error = check_neighbours(predictor, json.dumps({"pathology": [bomb] * 10}), 413)
    assert error.field == "pathology"
    assert str(error).startswith("pathology: 671088640 pixels in 10 images, at most 67108864 are decoded")


def test_a_modality_that_the_task_ignores_is_not_read(predictor: Predictor):
    task = predictor.model.task | {"modalities": ["report"]}
    narrow = Predictor(
        predictor.schema, type(predictor.model)(predictor.model.encoder, predictor.model.head, task), predictor.digests
    )
    (answer,) = narrow.answer(['{"report": "Atypia.", "pathology": ["?"]}'])
    assert isinstance(answer, Response)
    assert answer.modalities_used == ["report"] and answer.modalities_ignored == ["pathology"]


def tiles(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [png(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))) for _ in range(count)]


def examined(predictor: Predictor, content: dict[str, Any]) -> dict[str, tuple[str, int, int]]:
    (answer,) = predictor.answer([content])
    assert isinstance(answer, Response), answer
    return {name: (part.what, part.examined, part.of) for name, part in answer.examined.items()}


def test_the_answer_tells_how_much_was_looked_at(predictor: Predictor):
    content = {
        "pathology": tiles(300),
        "radiology": tiles(5),
        "report": "Atypia. " * 3000,
        "record": {"age": 61, "sex": None},
        "genomics": {"mutations": {"TP53": 1, "EGFR": 0, "NOSUCHGENE": 1}},
    }
    most = 126 + 31 * (126 - 32)  # 32 windows of 128, two marks each, a quarter shared
    assert examined(predictor, content) == {
        "pathology": ("images", 256, 300),
        "radiology": ("images", 5, 5),
        "report": ("word pieces", most, 6000),
        "record": ("columns", 1, 1),
        "genomics": ("genes", 2, 3),
    }


def test_all_tiles_up_to_the_bound_count(predictor: Predictor):
    """The last of a hundred tiles changes the answer."""
    black, sent = png(Image.new("RGB", (8, 8))), tiles(100)
    one, other = predictor.answer([{"pathology": sent}, {"pathology": [*sent[:50], black, *sent[51:]]}])
    assert isinstance(one, Response) and isinstance(other, Response)
    assert one.prediction != other.prediction


def test_a_host_s_reply_is_finite_json_with_the_sender_s_id(predictor: Predictor):
    calls = [
        host.Call(GOOD, {"Content-Type": "application/json; charset=utf-8", "X-Request-ID": "a-1"}, "made"),
        host.Call(r'{"\ud800": 1}', {"content-type": "application/json", "x-request-id": "no\nid"}, "made"),
        host.Call(GOOD, {"content-type": "text/plain"}, "made"),
        host.Call('{"report": "\\u0007", "x": 1}', {}, "made"),
        host.Call(GOOD, {"content-type": 'application/json; v=1; Charset="UTF-16"'}, "made"),
        host.Call(GOOD, {"content-type": "application/fhir+json;charset=latin-1"}, "made"),
    ]
    replies = host.answer(predictor, calls)
    assert [reply.status for reply in replies] == [200, 400, 415, 422, 415, 415]
    assert [json.loads(reply.body)["request_id"] for reply in replies] == ["a-1", *["made"] * 5]
    assert replies[0].headers == {"content-type": "application/json", "x-request-id": "a-1"}
    assert [json.loads(one.body)["reason"] for one in replies[4:]] == ["found charset=UTF-16", "found charset=latin-1"]
    problem = json.loads(replies[2].body)
    assert problem["type"] == "urn:consilium:problem:not-json"
    assert problem["field"] == "Content-Type" and problem["reason"] == "found 'text/plain'"
    assert problem["remedy"] == "send one JSON object a patient, as Content-Type: application/json"
    assert replies[2].headers["content-type"] == "application/problem+json"
