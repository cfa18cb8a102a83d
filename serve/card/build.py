"""The card of a model from its run records: the graph of evidence, and every document printed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.card import html, markdown
from serve.card.bom import bill
from serve.card.chai import applied_model_card
from serve.card.chain import Evidence, gather
from serve.card.content.analyses import analyses
from serve.card.content.attribution import attribution
from serve.card.content.bundle import bundle
from serve.card.content.data import data
from serve.card.content.federation import federation
from serve.card.content.judgement import judgement
from serve.card.content.lineage import lineage
from serve.card.content.results import PICTURE, picture_name, results
from serve.card.content.standards import standards
from serve.card.content.summary import seen, summary
from serve.card.content.training import training
from serve.card.document import Block, line
from serve.card.eval_results import eval_results
from serve.card.graph import File, Graph, Node
from serve.card.judgement import read
from serve.card.metadata import front_matter

README, PAGE, BILL, CHAI, DATA = "README.md", "card.html", "bom.json", "chai.xml", "card.json"
FORMAT = 2


@dataclass(frozen=True)
class Inputs:
    """What a card is made of.

    Attributes:
        evaluations: output folders of evaluations.
        name: of the model.
        license: SPDX identifier, in lower case as Hugging Face has it.
        export: output folder of `serve.export`, if the card tells of a bundle.
        judgement: file in which people answered what no run can know.
        analyses: output folders of trials, stratifications and other runs that left figures.
    """

    evaluations: tuple[Path, ...]
    name: str
    license: str
    export: Path | None = None
    judgement: Path | None = None
    analyses: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Card:
    """A card, not yet written.

    Attributes:
        documents: text by path beside the card.
        content: of `card.json`: every statement with its sources, and where the README prints it.
        pictures: raster pictures by the name that they have beside the card.
    """

    documents: dict[str, str]
    content: dict[str, Any]
    pictures: dict[str, Path]


def build(inputs: Inputs, output: Path) -> Card:
    """Reads the records and prints the card.

    Args:
        inputs: what it is made of.
        output: where it will lie; files are named from there.

    Raises:
        UserError: if a record is missing, or was changed since a later run built on it.
    """
    graph = Graph(output.resolve())
    said = None if inputs.judgement is None else graph.add(inputs.judgement, read(inputs.judgement))
    evidence = gather(graph, inputs.evaluations, inputs.export, said, inputs.analyses)
    settings = File(output, "run.json", "", {"config": {"name": inputs.name, "license": inputs.license}})
    name = graph.value("model/name", settings, "config", "name")
    graph.value("model/license", settings, "config", "license")
    first, blocks = seen(evidence), _blocks(evidence)
    body, bindings = markdown.render(first, line(name), blocks)
    head = front_matter(evidence)
    above = head.count("\n")
    content = {
        "format": FORMAT,
        "files": {file.name: file.digest for file in graph.files.values()},
        "nodes": {node.id: plain(node) for node in graph.nodes.values()},
        "readme": [[row + above, column, node] for row, column, node in bindings],
    }
    pictures = {
        picture_name(evidence, evaluation): evaluation.run.folder / PICTURE
        for evaluation in evidence.evaluations
        if (evaluation.run.folder / PICTURE).is_file()
    }
    documents = {README: head + body, PAGE: html.render(first, name, blocks), BILL: bill(evidence)}
    documents[CHAI] = applied_model_card(evidence)
    documents |= eval_results(evidence)
    return Card(documents, content, pictures)


def _blocks(evidence: Evidence) -> list[Block]:
    """The card from its first screen to its last table."""
    sections = (results, analyses, attribution, judgement, data, federation, training, bundle, lineage, standards)
    made = (section(evidence) for section in sections)
    return [*summary(evidence), *(section for section in made if section is not None)]


def plain(node: Node) -> dict[str, Any]:
    """A node as `card.json` holds it: without what is empty, sources as a file and the keys in it."""
    content: Mapping[str, Any] = {name: getattr(node, name) for name in Node.__dataclass_fields__}
    kept = {key: value for key, value in content.items() if key not in ("id", "sources") and value not in ("", None)}
    return {"value": node.value, **kept, "sources": [[place.file, *place.keys] for place in node.sources]}
