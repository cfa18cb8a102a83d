"""One figure is the same in every document: README, its metadata and results, page, bill, CHAI card and card.json."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from serve.card.build import Card, Inputs, build
from serve.card.eval_results import invalid
from serve.card.wording import cell
from tests.serve.card.chains import chain

SPACE = "{https://mc.chai.org/v0.2/schema.xsd}"


@pytest.fixture(scope="module", params=["classification", "survival"])
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Card:
    root = tmp_path_factory.mktemp("same")
    evaluation = chain(root, kind=request.param)
    return build(Inputs((evaluation,), "demo", "mit", root / "export"), root / "card")


def figures(card: Card) -> dict[str, Any]:
    """Statements that are measured figures of the evaluation, by id."""
    nodes = card.content["nodes"].items()
    return {name: node for name, node in nodes if name.startswith("result/0/") and "split" in node}


def ends(node: dict[str, Any]) -> tuple[Any, Any, Any]:
    return node["value"], node.get("low"), node.get("high")


def test_the_page_prints_what_the_statement_says(card: Card):
    printed = re.findall(r'data-node="([^"]+)">([^<]*)<', card.documents["card.html"])
    assert len({name for name, _ in printed} & figures(card).keys()) > 10
    for name, text in printed:
        if name in figures(card):
            assert text == figures(card)[name]["text"]


def test_the_readme_prints_what_the_statement_says(card: Card):
    lines = card.documents["README.md"].split("\n")
    bound = [(row, column, name) for row, column, name in card.content["readme"] if name in figures(card)]
    assert len({name for _, _, name in bound}) > 10
    for row, column, name in bound:
        assert lines[row - 1][column:].startswith(cell(figures(card)[name]["text"]))


def test_the_metadata_holds_what_the_statement_says(card: Card):
    head = yaml.safe_load(card.documents["README.md"].split("\n---\n")[0].removeprefix("---\n"))
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"]
    for metric in result["metrics"]:
        node = figures(card)[f"result/0/overall/{metric['type']}"]
        arguments = metric["args"]
        assert (metric["value"], arguments.get("low"), arguments.get("high")) == ends(node)
        assert arguments["patients"] == node["n"]


def test_the_bill_of_materials_holds_what_the_statement_says(card: Card):
    model = json.loads(card.documents["bom.json"])["metadata"]["component"]["modelCard"]
    metrics = {metric["slice"]: metric for metric in model["quantitativeAnalysis"]["performanceMetrics"]}
    assert len(metrics) > 10
    for name, node in figures(card).items():
        metric = metrics.get(f"biomarker/{name.removeprefix('result/0/')} ({node['split']})")
        if metric is None:
            assert not isinstance(node["value"], float)
            continue
        bounds = metric.get("confidenceInterval", {})
        told = [json.loads(text) if text else None for text in (metric["value"], *map(bounds.get, _BOUNDS))]
        assert tuple(told) == (ends(node) if bounds else (node["value"], None, None))


_BOUNDS = ("lowerBound", "upperBound")


def test_the_chai_card_holds_what_the_statement_says(card: Card):
    root = ElementTree.fromstring(card.documents["chai.xml"])
    texts = [json.loads(part.text or "") for part in root.iter(f"{SPACE}ValueJson")]
    told = [(value.get("estimate", value.get("value")), value.get("lower"), value.get("upper")) for value in texts]
    known = {ends(node) for node in figures(card).values()}
    assert len(told) > 5 and set(told) <= known
    for part in ("overall", "by_hospital", "gaps"):
        wanted = [ends(node) for name, node in figures(card).items() if name.startswith(f"result/0/{part}/")]
        assert wanted and set(wanted) <= set(told)


def test_the_results_beside_the_metadata_hold_what_the_statement_says(card: Card):
    text = card.documents[".eval_results/biomarker.yaml"]
    assert list(invalid(text)) == []
    entries = parse_eval_result_entries(yaml.safe_load(text))
    wanted = {name: node for name, node in figures(card).items() if name.startswith("result/0/overall/")}
    assert len(entries) == len(wanted) == 2
    for entry, (name, node) in zip(entries, wanted.items(), strict=True):
        metric = name.removeprefix("result/0/overall/")
        assert entry.value == node["value"]
        assert (entry.dataset_id, entry.task_id) == ("demo", f"biomarker-{metric.replace('/', '-')}")
        ends = f"{node['low']} to {node['high']}" if "low" in node else ""
        assert ends in str(entry.notes) and f"n = {node['n']}" in str(entry.notes)
        assert str(entry.notes).startswith("held-out test patients; synthetic patients; ")
