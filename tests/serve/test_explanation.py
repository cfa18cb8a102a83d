"""What an answer goes by: parts as they are sent, each change the model's own answer without that part."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.data.cohort import Cohort
from foundation.modalities.image_request import ImagesForm
from foundation.modalities.report.request import TextForm
from foundation.modalities.request import RequestError
from serve import explanation as explanation_module
from serve import host
from serve.client import to_request
from serve.explained import Explanation
from serve.explanation import example, explain, replies
from serve.predictor import Predictor
from serve.schema import Response


@pytest.fixture(scope="module")
def request_(cohort: Cohort, complete: str, predictor: Predictor) -> dict[str, Any]:
    return to_request(cohort.sample(complete), predictor.schema)


@pytest.fixture(scope="module")
def explanation(request_: dict[str, Any], predictor: Predictor) -> Explanation:
    return explain(predictor, json.dumps(request_), "r-1")


def number(predictor: Predictor, body: dict[str, Any], name: str) -> float:
    (answer,) = predictor.answer([body])
    assert isinstance(answer, Response)
    return float(answer.prediction["probabilities"][name])


def test_each_modality_s_change_is_that_of_the_answer_without_it(
    explanation: Explanation, request_: dict[str, Any], predictor: Predictor
):
    name = explanation.explained.removeprefix("probability of ")
    assert explanation.value == number(predictor, request_, name)
    assert [one.field for one in explanation.modalities] == list(predictor.schema.modalities)
    for one in explanation.modalities:
        rest = {key: value for key, value in request_.items() if key != one.field}
        assert one.change == pytest.approx(explanation.value - number(predictor, rest, name), abs=1e-6)


def test_each_part_s_change_is_that_of_the_answer_without_it(
    explanation: Explanation, request_: dict[str, Any], predictor: Predictor
):
    name = explanation.explained.removeprefix("probability of ")
    tiles = explanation.parts["pathology"]
    assert [one.field for one in tiles] == [f"pathology[{place}]" for place in range(len(request_["pathology"]))]
    rest = request_ | {"pathology": request_["pathology"][1:]}
    assert tiles[0].change == pytest.approx(explanation.value - number(predictor, rest, name), abs=1e-6)
    (age,) = (one for one in explanation.parts["record"] if one.field == "record.age")
    rest = request_ | {"record": {key: value for key, value in request_["record"].items() if key != "age"}}
    assert age.change == pytest.approx(explanation.value - number(predictor, rest, name), abs=1e-6)


def test_images_are_looked_at_square_by_square(explanation: Explanation):
    fields = [one.field for one in explanation.images]
    assert {field.partition("[")[0] for field in fields} == {"pathology", "radiology"} and len(fields) == 4
    assert {np.shape(one.changes) for one in explanation.images} == {(5, 5)}


def test_faithfulness_is_told_where_parts_are_enough(explanation: Explanation):
    enough = {name for name, parts in explanation.parts.items() if len(parts) >= 4}
    assert set(explanation.faithfulness) == enough and enough
    assert explanation.not_looked_at == {}


def test_one_part_has_nothing_to_be_taken_from(predictor: Predictor):
    told = explain(predictor, '{"report": "Atypia."}', "r-1")
    assert (told.modalities, told.parts, told.images, told.faithfulness) == ([], {}, [], {})


def test_what_cannot_be_answered_is_refused_as_the_answer_is(predictor: Predictor):
    with pytest.raises(RequestError, match="report: found 3"):
        explain(predictor, '{"report": 3}', "r-1")


def test_a_bundle_s_example_is_explained_as_any_request(bundle: Path, predictor: Predictor):
    request = {"report": "Atypia is high. Mitoses are few."}
    assert example(bundle, request) == explain(predictor, request, "example")


def test_more_parts_than_are_looked_at_are_counted(predictor: Predictor):
    told = explain(predictor, json.dumps({"report": " ".join(f"Lesion {place} is high." for place in range(60))}), "r")
    assert (len(told.parts["report"]), told.not_looked_at) == (48, {"report": 12})


def test_what_takes_too_long_is_not_looked_at(
    request_: dict[str, Any], predictor: Predictor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explanation_module, "_SECONDS", -1.0)
    told = explain(predictor, request_, "r-1")
    assert (told.modalities, told.parts, told.images) == ([], {}, [])
    assert told.not_looked_at["record"] == len(request_["record"])
    assert set(told.not_looked_at) == set(request_)


@pytest.mark.parametrize(
    ("prediction", "words", "number"),
    [
        ({"class": "a", "probabilities": {"a": 0.7, "b": 0.3}}, "probability of a", 0.7),
        ({"labels": {"idh": 0.6, "codel": 0.1}}, "probability of codel", 0.1),
        ({"log_hazard": -0.5, "risk_group": "low", "survival": {"365_days": 0.9}}, "log hazard", -0.5),
        ({"value": 3.5, "unit": "mm"}, "value", 3.5),
        (
            {"incidence": {"death": {"365_days": 0.1, "1095_days": 0.2}}, "event_free": {}, "risk_group": {}},
            "incidence of death in 1095 days",
            0.2,
        ),
    ],
)
def test_the_number_of_each_kind_of_prediction(prediction: dict[str, Any], words: str, number: float):
    said, read = explanation_module._number_of(prediction)
    assert (said, read(prediction)) == (words, number)


def test_hosts_tell_answers_from_explanations(predictor: Predictor):
    calls = [
        host.Call(b'{"report": "Atypia."}', headers, "r-1")
        for headers in (
            {},
            {"Explain": "True"},
            {"explain": "False"},
            {"explain": "True", "content-type": "text/plain"},
        )
    ]
    contents = [json.loads(reply.body) for reply in replies(predictor, calls)]
    assert ["prediction" in content for content in contents] == [True, False, True, False]
    assert Explanation.model_validate(contents[1]).request_id == "r-1"
    assert contents[3]["status"] == 415


def test_an_image_is_covered_square_by_square():
    form = ImagesForm(size=8)
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8, :8] = 200
    whole, *covered = form.covered(form.write([pixels, pixels]), "[1]", 2)
    plain = form.read(whole, "f", [])[1]
    assert plain.shape == (8, 8, 3) and len(covered) == 4
    for place, value in enumerate(covered):
        assert value[0] == whole[0]
        changed = (form.read(value, "f", [])[1] != plain).any(axis=2)
        rows, columns = slice(4 * (place // 2), 4 * (place // 2) + 4), slice(4 * (place % 2), 4 * (place % 2) + 4)
        assert changed[rows, columns].all() and changed.sum() == 16


def test_sentences_are_ranges_of_the_text():
    text = "Grade 2.5 mm. Atypia is high!\nNo mitoses"
    places = TextForm().places(text)
    assert [text[slice(*map(int, place.strip("[]").split(":")))] for place in places] == [
        "Grade 2.5 mm.",
        "Atypia is high!",
        "No mitoses",
    ]
    assert TextForm().without(text, {places[1]}) == "Grade 2.5 mm. No mitoses"


def test_a_channel_of_which_nothing_is_left_is_left_out(predictor: Predictor):
    form = predictor.schema.modalities["genomics"]
    value = {"unit": "log2_tpm", "expression": {"TP53": 1.0}, "mutations": {"TP53": 1, "EGFR": 0}}
    assert form.places(value) == [".expression", ".mutations.TP53"]
    assert form.without(value, {".expression"}) == {"mutations": {"TP53": 1, "EGFR": 0}}
    assert form.without(value, {".mutations.TP53"}) == value | {"mutations": {"EGFR": 0}}
