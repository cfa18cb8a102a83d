"""Documents of a card against its statements: every number that they print is bound to one."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from serve.card.wording import cell

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_HEAD_END = "\n---\n"


def read_text(path: Path) -> str:
    """A document as it was written: ends of lines as they are, and a mark for what is no UTF-8."""
    return path.read_bytes().decode(errors="replace")


def readme_problems(folder: Path, card: Mapping[str, Any]) -> Iterator[str]:
    """Numbers of README.md that are not what their statements say, or belong to none."""
    path = folder / "README.md"
    if not path.is_file():
        yield "README.md: missing; write the card again"
        return
    text = read_text(path)
    lines = text.split("\n")
    bound: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row, column, name in card["readme"]:
        bound[row].append((column, name))
    head = text[: text.find(_HEAD_END, 3)].count("\n") + 2
    for row, content in enumerate(lines, start=1):
        if row > head:
            yield from _line_problems(row, content, bound.get(row, []), card["nodes"])


def _line_problems(row: int, content: str, bound: list[tuple[int, str]], nodes: Mapping[str, Any]) -> Iterator[str]:
    rest, end = [], 0
    for column, name in sorted(bound):
        text = cell(nodes.get(name, {}).get("text", ""))
        if content[column : column + len(text)] != text:
            shown = content[column : column + len(text)]
            yield f"README.md: line {row} prints '{shown}' where {name} is '{text}'"
            return  # what stands behind it on the line has moved
        rest.append(content[end:column])
        end = column + len(text)
    rest.append(content[end:])
    # Pictures' file names are no statements.
    loose = _NUMBER.search(re.sub(r"\]\([^)]*\)", "", " ".join(rest)))
    if loose:
        yield f"README.md: line {row} prints {loose.group()}, which is no statement of the card"


class _Page(HTMLParser):
    """Texts of a page by the statement that they are bound to, and numbers that are bound to none."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, str, str]] = []
        self.bound: list[tuple[str, str, str]] = []
        self.loose: list[str] = []
        self._parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        kind = next((key for key in ("data-node", "data-source") if key in named), "")
        if kind:
            self._parts = []
        if tag != "meta":
            self.stack.append((tag, kind, named.get(kind, "")))

    def handle_endtag(self, tag: str) -> None:
        if self.stack and self.stack[-1][0] == tag:
            _, kind, name = self.stack.pop()
            if kind:
                self.bound.append((kind, name, "".join(self._parts)))

    def handle_data(self, data: str) -> None:
        if any(kind for _, kind, _ in self.stack):
            self._parts.append(data)
        elif not any(tag in ("style", "title", "nav") for tag, _, _ in self.stack):
            self.loose += _NUMBER.findall(data)


def page_problems(folder: Path, card: Mapping[str, Any]) -> Iterator[str]:
    """Numbers of card.html that are not what their statements say, or belong to none."""
    path = folder / "card.html"
    if not path.is_file():
        yield "card.html: missing; write the card again"
        return
    page = _Page()
    page.feed(read_text(path))
    for kind, name, text in page.bound:
        if name not in card["nodes"]:
            yield f"card.html: '{text}' is bound to {name}, which is no statement of the card"
        elif kind == "data-node" and text != card["nodes"][name].get("text", ""):
            yield f"card.html: prints '{text}' where {name} is '{card['nodes'][name].get('text', '')}'"
    for number in page.loose:
        yield f"card.html: prints {number}, which is no statement of the card"
