"""What reporting standards ask, and where the card answers: from records, by people, not at all, or does not apply."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import yaml

from serve.card.chain import Evidence
from serve.card.content.judgement import answer
from serve.card.document import Block, Line, Paragraph, Section, Table, line
from serve.card.graph import Node

STANDARDS = ("tripod_ai", "mi_claim", "hti_1", "ai_act")
REPORTED, OPEN, NEVER = "reported", "needs a person", "not applicable"
_SECTIONS = (
    ("result/", "Results"),
    ("analysis/", "Analyses of patients and trials"),
    ("judgement/", "Use, limits and responsibility"),
    ("bundle/", "Bundle"),
    ("modality/", "Training"),
    ("/metrics/", "Training"),
    ("/cores", "Training"),
    ("/energy", "Training"),
    ("training/", "Training"),
    ("/seconds", "Training"),
    ("/data/", "Data and hospitals"),
    ("/flow/", "Data and hospitals"),
    ("/description", "Data and hospitals"),
    ("/split/", "Data and hospitals"),
    ("/notes/found/", "Data and hospitals"),
    ("/table/", "Data and hospitals"),
    ("/dictionary/", "Data and hospitals"),
    ("/provenance/", "Data and hospitals"),
    ("run/", "Where every number comes from"),
    ("model/", "title"),
)


@dataclass(frozen=True)
class Answer:
    """What a card has for one item.

    Attributes:
        item: its number in the standard.
        asks: what it asks for.
        state: one of three.
        where: sections or questions, or why it does not apply.
    """

    item: str
    asks: str
    state: str
    where: Line


def standards(evidence: Evidence) -> Section:
    """A table a standard, with how many of its items have an answer."""
    words = (
        "What standards of reporting ask for. An item is reported where records or people answer it; nothing is "
        "filled in to look complete."
    )
    blocks: list[Block] = [Paragraph(line(words)), *(_table(evidence, key) for key in STANDARDS)]
    return Section("standards", line("Reporting standards"), tuple(blocks))


def answers(evidence: Evidence, content: Mapping[str, Any]) -> Iterator[Answer]:
    """For each item of a standard, what the card has."""
    for item in content["items"]:
        state, where = _state(evidence, item)
        yield Answer(item["item"], item["asks"], state, where)


def read(key: str) -> dict[str, Any]:
    """A standard's name and items."""
    text = (resources.files("serve.card") / "standards" / f"{key}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _state(evidence: Evidence, item: Mapping[str, Any]) -> tuple[str, Line]:
    if "never" in item:
        return NEVER, line(item["never"])
    places = []
    for pattern in item.get("records", []):
        name = next((name for name, node in evidence.graph.nodes.items() if _answers(name, node, pattern)), None)
        if name is None:
            return OPEN, line("no record tells it")
        places.append(_section(name))
    said = {field: answer(evidence, field) for field in item.get("person", [])}
    missing = [field.replace("_", " ") for field, node in said.items() if node is None]
    if missing:
        return OPEN, line("question open: ", ", ".join(missing))
    reasons = [node for node in said.values() if node is not None and node.rule]
    if reasons and len(reasons) == len(said) and not places:
        return NEVER, line(reasons[0])
    places += ["Use, limits and responsibility"] if said else []
    return REPORTED, line(", ".join(dict.fromkeys(places)))


def _answers(name: str, node: Node, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and node.value is not None


def _section(name: str) -> str:
    return next(title for key, title in _SECTIONS if (name.startswith(key) if key[0] != "/" else key in name))


def _table(evidence: Evidence, key: str) -> Table:
    graph, content = evidence.graph, read(key)
    rows, counts = [], Counter[str]()
    for each in answers(evidence, content):
        counts[each.state] += 1
        number = graph.derived(f"standard/{key}/{each.item}", each.item, "a number of the standard", [])
        rows.append((line(number), line(each.asks), line(each.state), each.where))
    name = graph.derived(f"standard/{key}", content["name"], "the standard's name", [])
    parts: list[str | Node] = [name, ": "]
    for state in (REPORTED, OPEN, NEVER):
        count = graph.derived(f"standard/{key}/count/{state}", counts[state], "count of items", [], unit="items")
        parts += [count, f" {state}", ", " if state != NEVER else ""]
    head = tuple(map(line, ("item", "asks for", "state", "where, or why")))
    return Table(line(*parts), head, tuple(rows), folded=True)
