"""How far answers can be relied on: regions that hold the truth, patients unlike those learnt from, and abstention."""

from serve.card.content.tables import Figures
from serve.card.document import Line, Table, line
from serve.card.graph import Node

_COLUMNS = {
    "coverage": "the answer's set or interval holds the truth",
    "out_of_distribution": "unlike those learnt from",
    "abstained": "no answer given",
    "risk_answered": "error where answered",
    "risk": "error if it always answered",
}
_WHERE = ("reliability",)


def reliability(figures: Figures) -> Table | None:
    """Shares of held-out patients: of all, by hospital, and by the modalities shown."""
    file = figures.evaluation.file
    whole = file.at(*_WHERE, "overall", default={})
    shown = [key for key in _COLUMNS if isinstance(whole.get(key), dict)]
    if not shown:
        return None
    rows: list[tuple[str | Node, tuple[str, ...]]] = [("all", (*_WHERE, "overall"))]
    for group in ("by_hospital", "by_modality"):
        for name in file.at(*_WHERE, group, default={}):
            rows.append((figures.name(*_WHERE, group, name), (*_WHERE, group, name)))
    head = (line("patients"), line("count"), *(line(_COLUMNS[key]) for key in shown))
    body = []
    for label, keys in rows:
        cells = [line(label), line(figures.count(*keys, "n"))]
        for key in shown:
            known = isinstance(file.at(*keys, key), dict)
            cells.append(line(figures.figure((*keys, key), n=(*keys, "n")) if known else "–"))
        body.append(tuple(cells))
    caption: list[str | Node] = ["How far answers can be relied on, as shares of patients"]
    if "coverage" in shown:
        caption += ["; sets and intervals were made to hold the truth with a chance of ", _stated(figures)]
    return Table(line(*caption, ":"), head, tuple(body))


def in_short(figures: Figures, task: Node) -> Line | None:
    """A sentence on abstention; None where no rule for it was saved with the model."""
    keys = (*_WHERE, "overall")
    if not isinstance(figures.evaluation.file.at(*keys, "abstained"), dict):
        return None
    parts: list[str | Node] = [task, " gives no answer where it cannot be sure enough, or where a patient is unlike "]
    parts += ["those learnt from: for a share of ", figures.figure((*keys, "abstained"), n=(*keys, "n"))]
    parts.append(" of these patients")
    if isinstance(figures.evaluation.file.at(*keys, "risk_answered"), dict):
        parts += ["; where it answered, it erred for ", figures.figure((*keys, "risk_answered"), n=(*keys, "n"))]
    return line(*parts, ".")


def _stated(figures: Figures) -> Node:
    name = f"{figures.evaluation.id}/reliability/coverage"
    return figures.graph.value(name, figures.evaluation.file, *_WHERE, "coverage")
