"""What reporting standards ask, and where the card answers: from records, by people, not at all, or does not apply."""

import re
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
_NUMBER = re.compile(r"\d+")
_SECTIONS = (
    ("result/", "Results"),
    ("analysis/", "Analyses of patients and trials"),
    ("judgement/", "Use, limits and responsibility"),
    ("bundle/", "Bundle"),
    ("modality/", "Training"),
    ("/metrics/", "Training"),
    ("/setting/", "Training"),
    ("/outcomes/", "Results"),
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
        by_records: whether it is reported, and by records of runs alone.
    """

    item: str
    asks: str
    state: str
    where: Line
    by_records: bool

    @property
    def number(self) -> str:
        """The item without the letter of its part."""
        return _NUMBER.match(self.item).group()  # type: ignore[union-attr]


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
        yield Answer(item["item"], item["asks"], state, where, state == REPORTED and not item.get("person"))


def read(key: str) -> dict[str, Any]:
    """A standard's name and items."""
    text = (resources.files("serve.card") / "standards" / f"{key}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _state(evidence: Evidence, item: Mapping[str, Any]) -> tuple[str, Line]:
    places = []
    for pattern in item.get("records", []):
        name = next((name for name, node in evidence.graph.nodes.items() if _answers(name, node, pattern)), None)
        if name is None and "never" not in item:
            return OPEN, line("no record tells it")
        places += [_section(name)] if name is not None else []
    if "never" in item and not places:
        return NEVER, line(item["never"])
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
    listed = list(answers(evidence, content))
    rows = []
    for each in listed:
        number = graph.derived(f"standard/{key}/{each.item}", each.item, "a number of the standard", [])
        rows.append((line(number), line(each.asks), line(each.state), each.where))
    name = graph.derived(f"standard/{key}", content["name"], "the standard's name", [])
    head = tuple(map(line, ("item", "asks for", "state", "where, or why")))
    return Table(line(name, ": ", *_counts(evidence, key, listed)), head, tuple(rows), folded=True)


def _counts(evidence: Evidence, key: str, listed: list[Answer]) -> Iterator[str | Node]:
    """Items by state, those that records of runs answer alone, and items of which every part has an answer."""

    def count(name: str, number: int, rule: str = "count of items") -> Node:
        return evidence.graph.derived(f"standard/{key}/count/{name}", number, rule, [], unit="items")

    states = Counter(each.state for each in listed)
    for state in (REPORTED, OPEN, NEVER):
        yield from (count(state, states[state]), f" {state}", ", " if state != NEVER else "")
    yield from ("; records of runs alone answer ", count("by records", sum(each.by_records for each in listed)))
    parts: dict[str, list[Answer]] = {}
    for each in listed:
        parts.setdefault(each.number, []).append(each)
    if len(parts) == len(listed):
        return
    told = [group for group in parts.values() if any(each.state == REPORTED for each in group)]
    whole = sum(all(each.state != OPEN for each in group) for group in told)
    alone = sum(all(each.by_records or each.state == NEVER for each in group) for group in told)
    rule = "count of numbers whose parts all have an answer, or do not apply"
    yield from (". Of its ", count("numbers", len(parts), "count of numbers"), " numbers, ")
    yield from (count("whole", whole, rule), " have an answer to every part that applies, ")
    yield from (count("whole by records", alone, f"{rule}, by records alone"), " from records alone")
