"""The card as Markdown, with the place of every node in it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from serve.card.document import Block, Bullets, Line, Paragraph, Picture, Section, Table
from serve.card.graph import Node
from serve.card.wording import cell

Piece = tuple[str, Node | None]
Binding = tuple[int, int, str]  # line from one, column from zero, and the id of the node that is printed there


def render(first: Iterable[Block], title: Line, blocks: Iterable[Block]) -> tuple[str, list[Binding]]:
    """Markdown, and where each node stands in it.

    Args:
        first: what stands above the title.
        title: of the card.
        blocks: below it.
    """
    above = [piece for block in first for piece in _block(block, 2)]
    below = [piece for block in blocks for piece in _block(block, 2)]
    return _bind([*above, *_line(title, "# ", "\n\n"), *below])


def printed(node: Node) -> str:
    """A node's text, safe in a table."""
    return cell(node.text)


def _bind(pieces: Iterable[Piece]) -> tuple[str, list[Binding]]:
    text: list[str] = []
    bindings: list[Binding] = []
    row, column = 1, 0
    for part, node in pieces:
        if node is not None:
            bindings.append((row, column, node.id))
        text.append(part)
        row += part.count("\n")
        column = len(part) - part.rfind("\n") - 1 if "\n" in part else column + len(part)
    return "".join(text), bindings


def _line(parts: Line, before: str = "", after: str = "") -> list[Piece]:
    pieces: list[Piece] = [(before, None)] if before else []
    pieces += [(printed(part), part) if isinstance(part, Node) else (cell(part), None) for part in parts]
    # `cell` strips what separates words from nodes, so it is put back.
    spaced = [
        (_spaced(part, text), node) if isinstance(part, str) else (text, node)
        for part, (text, node) in zip(parts, pieces[len(pieces) - len(parts) :], strict=True)
    ]
    return [*pieces[: len(pieces) - len(parts)], *spaced, *([(after, None)] if after else [])]


def _spaced(words: str, text: str) -> str:
    return (" " if words[:1] == " " else "") + text + (" " if words[-1:] == " " and words.strip() else "")


def _block(block: Block, level: int) -> Iterator[Piece]:
    if isinstance(block, Section):
        yield from _line(block.title, f"{'#' * level} ", "\n\n")
        for inner in block.blocks:
            yield from _block(inner, level + 1)
    elif isinstance(block, Paragraph):
        yield from _line(block.line, "> **" if block.loud else "", "**\n\n" if block.loud else "\n\n")
    elif isinstance(block, Bullets):
        for each in block.lines:
            yield from _line(each, "- ", "\n")
        yield "\n", None
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Picture):
        yield from _picture(block)


def _table(table: Table) -> Iterator[Piece]:
    if table.caption:
        yield from _line(table.caption, "", "\n\n")
    for row in (table.head, None, *table.rows):
        if row is None:
            yield "|" + " --- |" * len(table.head) + "\n", None
            continue
        yield "|", None
        for each in row:
            yield from _line(each, " ", " |")
        yield "\n", None
    yield "\n", None


def _picture(picture: Picture) -> Iterator[Piece]:
    if picture.file:
        yield from _line(picture.alt, "![", f"]({quote(os.path.basename(picture.file))})\n\n")
    elif picture.table is not None:
        yield from _table(picture.table)


def picture_files(blocks: Iterable[Block]) -> Iterator[Path]:
    """Raster pictures that a Markdown document needs beside it."""
    for block in blocks:
        if isinstance(block, Section):
            yield from picture_files(block.blocks)
        elif isinstance(block, Picture) and block.file:
            yield Path(block.file)
