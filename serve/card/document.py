"""What a card is made of, whatever it is printed as: sections of lines, tables and pictures of nodes and words."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from serve.card.graph import Node

_DIGIT = re.compile(r"\d")
Line = tuple[str | Node, ...]


def line(*parts: str | Node | None) -> Line:
    """Words and nodes in a row: a number is never among the words.

    Raises:
        ValueError: if words hold a digit.
    """
    for part in parts:
        if isinstance(part, str) and _DIGIT.search(part):
            raise ValueError(f"'{part}' holds a number; numbers are nodes")
    return tuple(part for part in parts if part is not None)


def listed(nodes: Sequence[Node]) -> Line:
    """Nodes, with commas between."""
    parts: list[str | Node] = []
    for node in nodes:
        parts += [", ", node] if parts else [node]
    return tuple(parts)


@dataclass(frozen=True)
class Paragraph:
    """A line by itself; a loud one stands in a frame, so that nobody overlooks it."""

    line: Line
    loud: bool = False


@dataclass(frozen=True)
class Bullets:
    """Lines of a list."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        head: of its columns.
        rows: `[rows][columns]`.
        folded: whether the page shows it on request alone.
    """

    caption: Line
    head: tuple[Line, ...]
    rows: tuple[tuple[Line, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A drawing whose numbers are nodes, with the table behind it.

    Attributes:
        id: of the drawing.
        svg: its markup; of the page alone.
        alt: what it shows, for those who do not see it.
        table: the same in figures.
        file: the name of a raster picture beside the card, for documents that hold no drawings.
    """

    id: str
    svg: str
    alt: Line
    table: Table | None = None
    file: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: Line
    blocks: tuple["Block", ...]


Block = Paragraph | Bullets | Table | Picture | Section


def nodes_of(thing: Any) -> Iterator[Node]:
    """Every node below a block, in order."""
    if isinstance(thing, Node):
        yield thing
    elif isinstance(thing, tuple):
        for inner in thing:
            yield from nodes_of(inner)
    elif isinstance(thing, Paragraph | Bullets | Table | Picture | Section):
        for name in thing.__dataclass_fields__:
            yield from nodes_of(getattr(thing, name))
