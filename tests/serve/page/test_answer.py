"""An answer in words and pictures, whatever the head: each answer here is one that the head's own schema allows."""

from typing import Any

import jsonschema
import pytest

from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.heads.survival import Survival
from tests.serve.page.conftest import Site

pytestmark = pytest.mark.process


def reliability(region: Any, **fields: Any) -> dict[str, Any]:
    common = {"coverage": 0.9, "out_of_distribution": {"report": 0.4}, "abstain": False, "reasons": []}
    return {**common, "region": region, **fields}


def response(head: Head, prediction: dict[str, Any], said: dict[str, Any] | None) -> dict[str, Any]:
    jsonschema.validate(prediction, head.prediction_schema())
    regions = head.regions()
    if said is not None and said["region"] is not None:
        assert regions is not None
        jsonschema.validate(said["region"], {"properties": regions.schema(), "additionalProperties": False})
    return {
        "request_id": "r-1",
        "model": "m",
        "version": "1",
        "release": "0",
        "digests": {"model": "a", "contract": "b"},
        "task": "t",
        "prediction": prediction,
        "reliability": said,
        "modalities_used": ["report"],
        "modalities_ignored": ["radiology"],
        "examined": {"report": {"what": "word pieces", "examined": 128, "of": 412}},
        "warnings": ["report: cut"],
        "synthetic": False,
    }


@pytest.fixture
def shown(page: Any, site: Site) -> Any:
    """A function that shows an answer and gives its text."""
    page.goto(site.address)

    def show(content: dict[str, Any]) -> str:
        script = """async (content) => {
            const { answerOf, summaryOf } = await import("/page/answer.js");
            const part = document.querySelector("main");
            part.replaceChildren(...answerOf(content));
            return summaryOf(content);
        }"""
        summary: str = page.evaluate(script, content)
        page.summary = summary
        text: str = page.inner_text("main")
        return text

    page.show = show
    return page


def test_classes_come_with_their_set(shown: Any):
    head = Classification(4, "label", ["yes", "no"])
    prediction = {"class": "yes", "probabilities": {"yes": 0.998, "no": 0.002}}
    text = shown.show(response(head, prediction, reliability({"classes": ["yes"]})))
    assert shown.summary == "Answer: yes, probability > 99 %."
    assert "In 90 % of patients the truth is within: yes." in text
    assert "128 of 412 word pieces" in text and "ignored: this task looks at none of it" in text
    assert "report: cut" in text and "abstains" not in text


def test_an_abstention_stands_before_what_the_model_leans_to(shown: Any):
    head = Classification(4, "label", ["yes", "no"])
    prediction = {"class": "yes", "probabilities": {"yes": 0.6, "no": 0.4}}
    said = reliability({"classes": ["yes", "no"]}, abstain=True, reasons=["the set holds yes and no"])
    text = shown.show(response(head, prediction, said))
    assert shown.summary == "The model abstains. It leans to: yes, probability 60 %."
    assert text.index("The model abstains.") < text.index("the set holds yes and no") < text.index("probability 60 %")


def test_survival_is_drawn_beside_its_table(shown: Any):
    head = Survival(4, "event", "days", [365, 1095])
    prediction = {"log_hazard": -0.25, "risk_group": "low", "survival": {"365_days": 0.93, "1095_days": 0.71}}
    text = shown.show(response(head, prediction, reliability(None)))
    alternative = "Predicted survival: 93 % without the event after 1 year, 71 % without the event after 3 years."
    assert shown.get_attribute("figure svg", "aria-label") == alternative
    assert shown.locator("figure circle").count() == 3  # the beginning, where everybody is, and two horizons
    assert "3 years\t71 %" in text and "no interval" in text
    assert shown.summary.startswith("Answer: low risk")


def test_labels_each_have_a_set(shown: Any):
    head = MultiLabel(4, ["idh", "codel"])
    said = reliability({"labels": {"idh": ["present"], "codel": ["absent", "present"]}})
    shown.show(response(head, {"labels": {"idh": 0.97, "codel": 0.4}}, said))
    rows = [row.inner_text().split() for row in shown.locator("table").first.locator("tbody tr").all()]
    assert rows == [["Idh", "97", "%", "present"], ["Codel", "40", "%", "absent", "or", "present"]]
    assert shown.summary == "Answer: Idh, more likely than not."


def test_a_quantity_is_drawn_in_its_interval(shown: Any):
    head = Regression(4, "value", unit="mm")
    text = shown.show(response(head, {"value": 3.14, "unit": "mm"}, reliability({"low": 2.0, "high": 4.5})))
    assert shown.get_attribute("figure svg", "aria-label") == "3.14 mm, interval 2 to 4.5."
    assert "In 90 % of patients the truth is within: 2 to 4.5." in text


def test_an_interval_that_nobody_can_bound_is_said_to_be_none(shown: Any):
    head = Regression(4, "value", unit="mm")
    text = shown.show(response(head, {"value": 3.0, "unit": "mm"}, reliability({"low": None, "high": None})))
    assert "No interval: too few patients with these inputs." in text and shown.locator("figure").count() == 0


def test_a_model_that_was_not_fitted_to_say_how_sure_it_is_says_so(shown: Any):
    head = Classification(4, "label", ["yes", "no"])
    text = shown.show(response(head, {"class": "no", "probabilities": {"yes": 0.2, "no": 0.8}}, None))
    assert "How sure: this model was not fitted to say it." in text and "Unlike training" not in text


def test_competing_risks_are_told_by_horizon_and_cause(shown: Any):
    head = CompetingRisks(4, ["death", "relapse"], horizons=[365, 1095], edges=[365, 1095])
    shares = {"death": {"365_days": 0.1, "1095_days": 0.25}, "relapse": {"365_days": 0.2, "1095_days": 0.3}}
    free = {"365_days": 0.7, "1095_days": 0.45}
    groups = {"death": "low", "relapse": "high"}
    shown.show(response(head, {"incidence": shares, "event_free": free, "risk_group": groups}, None))
    assert shown.summary == "Answer: 45 %, free of any event after 3 years."
    rows = [row.inner_text().split("\t") for row in shown.locator("table").first.locator("tr").all()]
    assert rows[0] == ["After", "No event", "Death (low risk)", "Relapse (high risk)"]
    assert rows[2] == ["3 years", "45 %", "25 %", "30 %"]
