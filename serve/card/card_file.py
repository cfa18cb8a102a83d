"""`card.json`, read back in the form that it is written in."""

from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import read_json
from serve.card.build import DATA


def read_card(folder: Path, advice: str) -> dict[str, Any]:
    """`files`, `nodes` and `readme` of a card.

    Args:
        folder: of the card.
        advice: what to do where it is none, for the error.

    Raises:
        UserError: if it is missing, or in another form.
    """
    card = read_json(folder / DATA, advice, "files", "nodes", "readme")
    for part, kind in (("files", dict), ("nodes", dict), ("readme", list)):
        if not isinstance(card[part], kind):
            raise UserError(f"{folder / DATA}: '{part}' is a {type(card[part]).__name__}, no {kind.__name__}; {advice}")
    broken = next((name for name, node in card["nodes"].items() if not _is_statement(node)), None)
    if broken is not None:
        raise UserError(f"{folder / DATA}: {broken} is no statement with its sources; {advice}")
    broken = next((str(at) for at, binding in enumerate(card["readme"]) if not _is_binding(binding)), None)
    if broken is not None:
        raise UserError(f"{folder / DATA}: 'readme', entry {broken}, is no line, column and statement; {advice}")
    return card


def _is_statement(node: Any) -> bool:
    formed = isinstance(node, dict) and "value" in node and isinstance(node.get("text", ""), str)
    return formed and isinstance(node.get("sources"), list) and all(map(_is_place, node["sources"]))


def _is_place(place: Any) -> bool:
    keys = isinstance(place, list) and all(isinstance(key, str | int) for key in place)
    return keys and bool(place) and isinstance(place[0], str)


def _is_binding(binding: Any) -> bool:
    kinds = (int, int, str)
    return isinstance(binding, list) and len(binding) == len(kinds) and all(map(isinstance, binding, kinds))
