"""What a task predicts: its label, event and time columns, its classes and its horizons, as its model keeps them."""

from serve.card.chain import Evaluation, Evidence
from serve.card.document import Line, Table, line, listed
from serve.card.graph import Node

_WORDS = {
    "target": "label column",
    "event": "column of the event",
    "time": "column of the time, in days",
    "classes": "classes",
    "labels": "label columns",
    "horizons": "horizons of the answer, in days",
    "threshold": "chance from which on the answer is yes",
    "unit": "unit",
}
_SETTINGS = ("head", "settings")
Keys = tuple[str | int, ...]


def outcome(evidence: Evidence, evaluation: Evaluation) -> Table | None:
    """A row a fact; None where no task model is kept."""
    task, rows = evaluation.task, list[tuple[Line, Line]]()
    for key, words in _WORDS.items():
        value = task.at(*_SETTINGS, key) if task is not None else None
        places = range(len(value)) if isinstance(value, list) else None
        keys: list[Keys] = [(*_SETTINGS, key)] if places is None else [(*_SETTINGS, key, at) for at in places]
        if task is None or value is None or not all(isinstance(task.at(*place), str | int | float) for place in keys):
            continue
        nodes: list[Node] = [
            evidence.graph.value(
                f"{evaluation.id}/outcome/{'/'.join(map(str, place[2:]))}", task, *place, style="setting"
            )
            for place in keys
        ]
        rows.append((line(words), line(*listed(nodes))))
    head = (line("fact"), line("value"))
    return Table(line("What is predicted:"), head, tuple(rows)) if rows else None
