"""Pictures print nodes, stand beside the table behind them, and are drawn where the figures are."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from serve.card.build import Inputs, build
from serve.card.drawing import Scale
from tests.serve.card.chains import chain
from tests.serve.card.test_card import card_of


def svg_of(page: str, name: str) -> ElementTree.Element:
    """A drawing of a page, parsed strictly."""
    part = page[page.index(f'<figure id="{name}">') :]
    return ElementTree.fromstring(part[part.index("<svg") : part.index("</svg>") + len("</svg>")])


def printed(drawing: ElementTree.Element) -> dict[str, str]:
    """Texts of a drawing by the statement that they are bound to."""
    return {part.get("data-node", ""): part.text or "" for part in drawing.iter("tspan")}


@pytest.fixture(scope="module")
def page(plain_chain: Path) -> str:
    return card_of(plain_chain / "evaluation")[1]


def test_the_forest_plot_shows_value_interval_and_baseline(page: str):
    drawing = svg_of(page, "result/0/forest")
    texts = printed(drawing)
    assert texts["result/0/overall/auc"] == "0.864 (0.793 – 0.929)"
    assert texts["result/0/new_hospital/auc"] == "0.864 (0.701 – 0.953)"
    assert texts["result/0/by_hospital/cedar_7/auc"] and texts["result/0/by_group/sex/F/auc"]
    assert "result/0/by_group/sex/M/auc" not in texts
    boxes = list(drawing.iter("rect"))
    assert [box.get("class") for box in boxes] == ["one"] * 4 + ["other"]
    # From 0.4 (the baseline's interval begins at 0.450) to 1, over places 250 to 560.
    assert float(boxes[0].get("x", 0)) + 4 == pytest.approx(250 + (0.8642 - 0.4) / 0.6 * 310, abs=0.1)
    whiskers = [part for part in drawing.iter("line") if part.get("class") == "whisker"]
    assert float(whiskers[4].get("x1", 0)) == pytest.approx(250 + 0.0501 / 0.6 * 310, abs=0.1)


def test_calibration_and_decision_curve_have_their_tables(page: str):
    drawing = svg_of(page, "result/0/calibration")
    assert len(list(drawing.iter("circle"))) == 2
    behind = page[page.index('<figure id="result/0/calibration">') :].split("</figure>")[0]
    bound = re.findall(r'data-node="result/0/curves/calibration/(\w+/\d)">([^<]*)<', behind)
    assert bound == [
        ("predicted/0", "0.125"),
        ("observed/0", "0.062"),
        ("patients/0", "31"),
        ("predicted/1", "0.875"),
        ("observed/1", "0.750"),
        ("patients/1", "26"),
    ]
    curves = [part.get("class") for part in svg_of(page, "result/0/decision").iter("path")]
    assert curves == ["curve two dashed", "curve one"]


def test_survival_is_drawn_with_numbers_at_risk_up_to_where_it_is_known(tmp_path: Path):
    _, page, _ = card_of(chain(tmp_path, kind="survival"))
    drawing = svg_of(page, "result/0/survival")
    texts = {name.removeprefix("result/0/curves/kaplan_meier/"): text for name, text in printed(drawing).items()}
    assert {name: text for name, text in texts.items() if "at_risk" in name} == {
        "0/at_risk/0": "29",
        "0/at_risk/1": "23",  # after a year, the next change is on day 400
        "0/at_risk/2": "11",
        "1/at_risk/0": "28",
        "1/at_risk/2": "0",  # and of these on day 700, behind which nothing is known
    }
    first, second = (part.get("d", "") for part in drawing.iter("path"))
    assert len(first.split("L")) == 7 and len(second.split("L")) == 5


def test_the_timeline_leaves_a_round_empty_where_a_site_was_away(page: str):
    boxes = [box.get("class") for box in svg_of(page, "run/pretrain/timeline").iter("rect")]
    assert boxes == ["one", "one", "one", "empty"]


def test_subsets_are_mapped_where_there_are_several(plain_chain: Path, tmp_path: Path):
    path = tmp_path / "evaluation.json"
    assert "subsets" not in card_of(plain_chain / "evaluation")[1]
    chain(tmp_path)
    path = tmp_path / "evaluation" / "evaluation.json"
    path.write_text(
        path.read_text().replace(
            '"by_modality": {', '"by_modality": {"record alone": {"n": 9, "auc": {"value": 0.75}},'
        )
    )
    boxes = [box.get("class") for box in svg_of(card_of(tmp_path / "evaluation")[1], "result/0/subsets").iter("rect")]
    assert boxes == ["one", "empty", "one", "one", "empty", "one"]


def test_every_picture_has_words_for_those_who_do_not_see_it(page: str):
    drawings = re.findall(r"<svg [^>]*>", page)
    assert len(drawings) == 4
    assert all('role="img"' in drawing and re.search(r'aria-label="[A-Z][^"]{20,}"', drawing) for drawing in drawings)


def test_a_scale_keeps_values_between_its_ends():
    scale = Scale(0.5, 1.0, 100, 200)
    assert [scale(value) for value in (0.0, 0.5, 0.75, 1.0, 2.0)] == [100, 100, 150, 200, 200]


def test_folds_of_a_cross_validation_are_told(tmp_path: Path):
    evaluation = chain(tmp_path)
    (evaluation / "evaluation.json").rename(evaluation / "crossvalidation.json")
    path = evaluation / "crossvalidation.json"
    estimates = {"patient_id": ["A1"], "hospital": ["alder"], "fold": ["alder"], "estimate_0": [0.5]}
    pd.DataFrame(estimates).to_parquet(evaluation / "predictions.parquet")
    fold = '{"name": "alder", "n": 31, "auc": {"value": 0.8}}'
    folds = f'"metric": "auc", "mean": {{"value": 0.86, "sd": 0.0321, "folds": 2}}, "folds": [{fold}],'
    path.write_text(path.read_text().replace("{", "{" + folds, 1))
    readme = build(Inputs((evaluation,), "demo", "mit"), tmp_path / "card").documents["README.md"]
    assert "| alder | 31 | 0.800 |\n| mean of 2 folds, and standard deviation | – | 0.860 ± 0.032 |" in readme
    assert "Cross-validation: every fold tests a model that other patients trained; patients of cohort demo" in readme
