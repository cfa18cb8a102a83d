"""The bill of materials of a model: CycloneDX 1.7, with the model card, its data sets and its libraries."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from serve.card.chain import Evidence
from serve.card.content.judgement import answer
from serve.card.content.training import modalities
from serve.card.graph import Node
from serve.card.judgement import questions

_SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
_MODEL = "model"
_CONSIDERATIONS = {
    "users": ("users",),
    "useCases": ("intended_use", "patients", "setting"),
    "technicalLimitations": ("known_limits", "out_of_scope"),
}
_ETHICS = ("ethics", "consent", "harms", "fairness")


def bill(evidence: Evidence) -> str:
    """The bill as JSON; the same records give the same bytes."""
    graph, newest = evidence.graph, evidence.runs[0]
    digests = "".join(sorted(file.digest for file in graph.files.values()))
    data, libraries = list(_data(evidence)), list(_libraries(evidence))
    references = [component["bom-ref"] for component in (*data, *libraries)]
    content = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digests)}",
        "version": 1,
        "metadata": {"timestamp": newest.record["started"], "component": _model(evidence, data)},
        "components": [*data, *libraries],
        "dependencies": [{"ref": _MODEL, "dependsOn": references}],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _model(evidence: Evidence, data: list[dict[str, Any]]) -> dict[str, Any]:
    nodes = evidence.graph.nodes
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": nodes["model/name"].text,
        "licenses": [{"license": {"name": nodes["model/license"].text}}],
        "modelCard": _card(evidence, data),
        "properties": [{"name": "consilium:open", "value": field} for field in _open(evidence)],
    }
    if "bundle/version" in nodes:
        model["version"] = str(nodes["bundle/version"].value)
        model["hashes"] = [{"alg": "SHA-256", "content": str(nodes["bundle/manifest"].value)}]
    return model


def _card(evidence: Evidence, data: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {str(one.task.at("kind")): None for one in evidence.evaluations if one.task and one.task.at("kind")}
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": ", ".join(kinds) or "other",
        "datasets": [{"ref": component["bom-ref"]} for component in data],
        "inputs": [{"format": node.text} for node in modalities(evidence)],
    }
    card: dict[str, Any] = {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(evidence))},
    }
    considerations: dict[str, Any] = {}
    for part, fields in _CONSIDERATIONS.items():
        said = [node.text for field in fields if (node := answer(evidence, field)) is not None]
        if said:
            considerations[part] = said
    ethics = [node.text for field in _ETHICS if (node := answer(evidence, field)) is not None]
    if ethics:
        considerations["ethicalConsiderations"] = [{"name": text} for text in ethics]
    return card | ({"considerations": considerations} if considerations else {})


def _open(evidence: Evidence) -> list[str]:
    """Questions that nobody answered."""
    return [field for field in questions() if answer(evidence, field) is None]


def _metrics(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Every measured figure of a result, with its interval and the slice of patients that it is of."""
    for name, node in evidence.graph.nodes.items():
        if not name.startswith("result/") or node.split == "" or not isinstance(node.value, float):
            continue
        _, number, part, *keys = name.split("/")
        task = evidence.graph.nodes[f"result/{number}/task"].text
        yield _metric(node, "/".join([task, part, *keys]))


def _metric(node: Node, name: str) -> dict[str, Any]:
    metric = {"type": name.rpartition("/")[2], "value": json.dumps(node.value), "slice": f"{name} ({node.split})"}
    if node.low is None or node.high is None:
        return metric
    ends = {"lowerBound": json.dumps(node.low), "upperBound": json.dumps(node.high)}
    return metric | {"confidenceInterval": ends}


def _data(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A component a cohort."""
    digests: dict[str, str] = {}
    for run in evidence.runs:
        digest, name = run.file.at("data", "digest"), run.file.at("data", "name")
        if digest and digest not in digests:
            digests[digest] = str(name)
    for digest, name in digests.items():
        sizes = [{"type": "dataset", "name": name}]
        yield {"type": "data", "bom-ref": f"data/{digest[:12]}", "name": name, "version": digest[:12], "data": sizes}


def _libraries(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """The packages that the newest run ran with."""
    for name, version in evidence.runs[0].file.at("packages", default={}).items():
        yield {"type": "library", "bom-ref": f"library/{name}", "name": name, "version": str(version)}
