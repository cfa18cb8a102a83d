"""The card as one self-contained page of HTML, in which every figure opens its source."""

from collections.abc import Iterable
from html import escape
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serve.card.document import Block, Bullets, Line, Paragraph, Picture, Section, Table
from serve.card.graph import Node


def render(first: Iterable[Block], name: Node, blocks: Iterable[Block]) -> str:
    """The page.

    Args:
        first: what stands above the title.
        name: of the model.
        blocks: below it.
    """
    blocks = list(blocks)
    templates = Environment(loader=PackageLoader("serve.card", "templates"), undefined=StrictUndefined, autoescape=True)
    summary = next(place for place, block in enumerate(blocks) if isinstance(block, Section)) + 1
    first_screen, body = ("".join(_block(block, 2) for block in part) for part in (blocks[:summary], blocks[summary:]))
    entries = [(block.id, _plain(block.title)) for block in blocks if isinstance(block, Section)]
    style = (resources.files("serve.card") / "templates" / "card.css").read_text(encoding="utf-8")
    page = templates.get_template("card.html.jinja")
    above = "".join(_block(block, 2) for block in first)
    marked = {"above": Markup(above), "title": Markup(_node(name)), "style": Markup(style)}
    marked |= {"summary": Markup(first_screen), "body": Markup(body)}
    return page.render(name=name.text, entries=entries, **marked) + "\n"


def _plain(parts: Line) -> str:
    return "".join(part.text if isinstance(part, Node) else part for part in parts)


def _line(parts: Line) -> str:
    return "".join(_node(part) if isinstance(part, Node) else escape(part) for part in parts)


def _node(node: Node) -> str:
    """A statement: its text bound to its id."""
    return f'<span data-node="{escape(node.id)}">{escape(node.text)}</span>'


def _is_number(node: Node) -> bool:
    return not isinstance(node.value, bool | str) and (node.value is not None or bool(node.reason))


def _cell(parts: Line) -> str:
    """A line of a table, in which a number opens what it rests on."""
    return "".join(
        f"<details><summary>{_node(part)}</summary>{source(part)}</details>"
        if isinstance(part, Node) and _is_number(part)
        else _line((part,))
        for part in parts
    )


def _sources(lines: Iterable[Line]) -> str:
    """What the numbers of running text rest on, opened together."""
    nodes = {part.id: part for each in lines for part in each if isinstance(part, Node) and _is_number(part)}
    if not nodes:
        return ""
    rows = "".join(f"<li>{_node(node)} {source(node)}</li>" for node in nodes.values())
    return f'<details class="from"><summary>sources</summary><ul>{rows}</ul></details>\n'


def source(node: Node) -> str:
    """What a number rests on, as the page opens it."""
    facts = [
        f"{node.n} patients" if node.n is not None else "",
        f"unit: {node.unit}" if node.unit else "",
        f"{node.split} patients" if node.split else "",
        node.estimator,
        node.interval,
        node.reason,
        node.rule,
    ]
    places = [f"{place} (sha256 {place.digest[:12]})" for place in node.sources[:3]]
    more = f"and {len(node.sources) - 3} more" if len(node.sources) > 3 else ""
    text = "; ".join(filter(None, [*places, more, *facts]))
    return f'<span class="source" data-source="{escape(node.id)}">{escape(text)}</span>'


def _block(block: Block, level: int) -> str:
    if isinstance(block, Section):
        tag = f"h{min(level, 6)}"
        inner = "".join(_block(each, level + 1) for each in block.blocks)
        return f'<section id="{escape(block.id)}">\n<{tag}>{_line(block.title)}</{tag}>\n{inner}</section>\n'
    if isinstance(block, Paragraph):
        tag = "blockquote" if block.loud else "p"
        return f"<{tag}>{_line(block.line)}</{tag}>\n{_sources([block.line])}"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{_line(each)}</li>" for each in block.lines) + "</ul>\n" + _sources(block.lines)
    if isinstance(block, Table):
        return _table(block)
    return _picture(block)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_line(each)}</th>' for each in table.head)
    rows = "".join(map(_row, table.rows))
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    caption = _line(table.caption)
    label = escape("".join(part for part in table.caption if isinstance(part, str)).strip(" :."))
    scrolls = f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">{whole}</div>'
    if table.folded:
        return f'<details class="table"><summary>{caption}</summary>\n{scrolls}</details>\n'
    return f'<p class="caption">{caption}</p>\n{scrolls}\n'


def _row(cells: tuple[Line, ...]) -> str:
    first, *others = map(_cell, cells)
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{each}</td>" for each in others) + "</tr>\n"


def _picture(picture: Picture) -> str:
    if not picture.svg:
        return ""
    behind = _table(picture.table) if picture.table is not None else ""
    caption = f"<figcaption>{_line(picture.alt)}</figcaption>"
    drawn = f'<div class="scroll" tabindex="0" role="group" aria-label="picture, scrolls">{picture.svg}</div>'
    return f'<figure id="{escape(picture.id)}">\n{drawn}\n{caption}\n{behind}</figure>\n'
