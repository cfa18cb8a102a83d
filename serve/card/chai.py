"""The card as CHAI's Applied Model Card v0.2: XML whose figures hold their intervals, with what nobody said as open."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from xml.etree import ElementTree

from serve.card.chain import Evidence
from serve.card.content.judgement import OPEN, answer
from serve.card.content.standards import read
from serve.card.content.tables import metric_name
from serve.card.graph import Node

STANDARD = "chai"
_NO_RECORD = "OPEN: no record tells it"
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_LEVEL = re.compile(r"(\d+(?:\.\d+)?) %")
Item = Mapping[str, Any]


def applied_model_card(evidence: Evidence) -> str:
    """The XML; the same records give the same bytes."""
    outline = read(STANDARD)
    ElementTree.register_namespace("", outline["namespace"])
    root = ElementTree.Element(_tag(outline, outline["root"]))
    for item in outline["elements"]:
        text = _text(evidence, item)
        if text is None:
            continue
        element = _element(outline, root, item["path"])
        for name, patterns in item.get("each", {}).items():
            for word in dict.fromkeys(node.text for node in _matching(evidence, patterns)):
                ElementTree.SubElement(element, _tag(outline, name)).text = _clean(word)
        if "figures" in item:
            _results(evidence, outline, element, item)
        elif "each" not in item:
            element.text = _clean(text)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def problems(text: str) -> Iterator[str]:
    """What the standard's outline misses or does not know in an XML card."""
    outline = read(STANDARD)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        yield f"no XML ({error})"
        return
    known = [item["path"] for item in outline["elements"]]
    there = [path for path, element in _leaves(outline, root) if path in known]
    for path, _ in _leaves(outline, root):
        if not any(path == name or path.startswith(f"{name}/") for name in known):
            yield f"{path} is no element of {outline['name']}"
    if there != [path for path in known if path in there]:
        yield f"elements stand in another order than {outline['name']} has"
    for item in outline["elements"]:
        element = root.find("/".join(_tag(outline, part) for part in item["path"].split("/")))
        if element is None and not item.get("optional"):
            yield f"{item['path']} is missing"
        elif element is not None and not _filled(element, item):
            yield f"{item['path']} is empty"
    yield from _value_problems(outline, root)


def _value_problems(outline: Item, root: ElementTree.Element) -> Iterator[str]:
    for result in root.iter(_tag(outline, "MetricResult")):
        label, value = (result.findtext(_tag(outline, name)) for name in ("Label", "ValueJson"))
        try:
            kind = json.loads(value or "")["kind"]
        except (ValueError, KeyError, TypeError):
            kind = None
        if kind not in ("single", "estimate_ci"):
            yield f"the value of {label} is none of a number or an estimate with its interval"


def _filled(element: ElementTree.Element, item: Item) -> bool:
    return bool(item.get("empty") or "each" in item or len(element) or (element.text or "").strip())


def _leaves(outline: Item, root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element]]:
    """Elements that hold no others but those of a list, by path, in order."""
    lists = {item["path"] for item in outline["elements"] if "figures" in item or "each" in item}

    def inside(element: ElementTree.Element, path: str) -> Iterator[tuple[str, ElementTree.Element]]:
        for child in element:
            here = f"{path}/{child.tag.rpartition('}')[2]}".lstrip("/")
            if len(child) and here not in lists:
                yield from inside(child, here)
            else:
                yield here, child

    yield from inside(root, "")


def _tag(outline: Item, name: str) -> str:
    return f"{{{outline['namespace']}}}{name}"


def _element(outline: Item, root: ElementTree.Element, path: str) -> ElementTree.Element:
    """The element of a path, made with those above it; siblings stay in the outline's order."""
    element = root
    for part in path.split("/"):
        child = element.find(_tag(outline, part))
        element = ElementTree.SubElement(element, _tag(outline, part)) if child is None else child
    return element


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def _matching(evidence: Evidence, patterns: list[str], but: str = "") -> list[Node]:
    """Nodes with a value whose id has one of the patterns."""
    return [
        node
        for pattern in patterns
        for name, node in evidence.graph.nodes.items()
        if node.value is not None and _has(name, pattern) and not (but and _has(name, but))
    ]


def _has(name: str, pattern: str) -> bool:
    return _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".+", "*": "[^/]+"}.get(part) or re.escape(part) for part in parts))


def _text(evidence: Evidence, item: Item) -> str | None:
    """What an element says; None where an optional one has nothing to say."""
    if "each" in item or "figures" in item:
        return ""
    parts = [item["says"]] if "says" in item else []
    for words, pattern in item.get("records", {}).items():
        texts = list(dict.fromkeys(node.text for node in _matching(evidence, [pattern])))[
            : 1 if "first" in item else None
        ]
        if texts:
            parts.append(f"{words}: {', '.join(texts)}." if words else texts[0])
    said = [answer(evidence, field) for field in item.get("person", [])]
    parts += [f"Not applicable: {node.text}" if node.rule else node.text for node in said if node is not None]
    if item.get("optional") and not parts:
        return None
    missing = [
        field.replace("_", " ") for field, node in zip(item.get("person", []), said, strict=True) if node is None
    ]
    parts += [f"{OPEN} ({', '.join(missing)})."] if missing else []
    return "\n".join(parts) if parts else _NO_RECORD


def _results(evidence: Evidence, outline: Item, element: ElementTree.Element, item: Item) -> None:
    """A result a figure; one that says so where there is none, for the schema wants one."""
    nodes = [node for node in _matching(evidence, item["figures"], item.get("but", "")) if node.split]
    shown = [(label(evidence, node), value_json(node)) for node in nodes]
    for name, value in shown or [(_NO_RECORD, json.dumps({"kind": "single", "value": None, "unit": ""}))]:
        result = ElementTree.SubElement(element, _tag(outline, "MetricResult"))
        ElementTree.SubElement(result, _tag(outline, "Label")).text = _clean(name)
        ElementTree.SubElement(result, _tag(outline, "ValueJson")).text = _clean(value)


def label(evidence: Evidence, node: Node) -> str:
    """A figure's name: task, where, and metric in words."""
    _, number, *keys, metric = node.id.split("/")
    task = evidence.graph.nodes[f"result/{number}/task"].text
    where = " ".join(key.replace("_", " ") for key in keys if key != "overall")
    return f"{task}: {metric_name(metric)}" + (f", {where}" if where else "")


def value_json(node: Node) -> str:
    """A figure as CHAI's value: with its interval where it has one, and with what it rests on."""
    facts: dict[str, Any] = {"n": node.n, "interval": node.interval, "estimator": node.estimator, "split": node.split}
    kept = {key: value for key, value in facts.items() if value not in (None, "")}
    if node.low is None or node.high is None:
        return json.dumps({"kind": "single", "value": node.value, "unit": node.unit} | kept)
    level = _LEVEL.search(node.interval)
    ends = {"lower": node.low, "upper": node.high} | ({"level": float(level.group(1))} if level else {})
    return json.dumps({"kind": "estimate_ci", "estimate": node.value, **ends, "unit": node.unit} | kept)
