"""The bill of materials holds the figures of the other documents, and its schema holds."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from serve.card.judgement import questions

SCHEMAS = ("bom-1.7", "spdx", "jsf-0.82", "cryptography-defs")


def bill_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "card" / "bom.json").read_text())
    return content


def test_figures_are_those_of_the_readme_and_of_the_statements(whole: Path):
    component = bill_of(whole)["metadata"]["component"]
    metrics = {each["slice"]: each for each in component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    auc = metrics["biomarker/overall/auc (test)"]
    assert auc["confidenceInterval"] == {"lowerBound": "0.7931", "upperBound": "0.9287"}
    front = yaml.safe_load((whole / "card" / "README.md").read_text().split("\n---\n")[0])
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == float(auc["value"]) == 0.8642
    nodes = json.loads((whole / "card" / "card.json").read_text())["nodes"]
    assert metrics["biomarker/by_group/sex/F/auc (test)"]["value"] == json.dumps(
        nodes["result/0/by_group/sex/F/auc"]["value"]
    )
    assert "biomarker/by_group/sex/M/auc (test)" not in metrics


def test_it_names_bundle_data_libraries_and_what_is_open(whole: Path):
    bill = bill_of(whole)
    component = bill["metadata"]["component"]
    assert (component["version"], component["licenses"]) == ("90b0751597d1", [{"license": {"name": "mit"}}])
    assert [each["name"] for each in bill["components"] if each["type"] == "data"] == ["demo"]
    assert "torch" in [each["name"] for each in bill["components"] if each["type"] == "library"]
    assert component["modelCard"]["considerations"] == {"useCases": ["Research on gliomas, in 3 hospitals."]}
    still_open = {each["value"] for each in component["properties"]}
    assert still_open == questions().keys() - {"intended_use", "funding"}


def test_the_schema_of_cyclonedx_holds(whole: Path):
    pytest.importorskip("cyclonedx", reason="the environment is older than the requirements of tests")
    folder = resources.files("cyclonedx") / "schema" / "_res"
    loaded = [json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8")) for name in SCHEMAS]
    registry = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in loaded])
    validator = Draft7Validator(loaded[0], registry=registry)
    bill = bill_of(whole)
    assert [error.message for error in validator.iter_errors(bill)] == []
    del bill["metadata"]["component"]["name"]
    assert [error.message for error in validator.iter_errors(bill)] == ["'name' is a required property"]
