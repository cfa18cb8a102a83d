"""How far answers can be relied on: regions that hold the truth, patients unlike those learnt from, and abstention."""

from serve.card.content.tables import SPLIT, Figures
from serve.card.document import Line, Table, line
from serve.card.graph import Node

_COLUMNS = {
    "coverage": "the answer's set or interval holds the truth",
    "out_of_distribution": "unlike those learnt from",
    "abstained": "abstained",
    "risk_answered": "error where not abstained",
    "risk": "error had it never abstained",
}
_WHERE = ("reliability",)


def reliability(figures: Figures) -> Table | None:
    """Shares of test patients, and errors of answers: of all, by hospital, and by the modalities shown."""
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
            cells.append(line(_figure(figures, keys, key) if known else "–"))
        body.append(tuple(cells))
    caption: list[str | Node] = ["How far answers can be relied on, as shares of patients"]
    caption += ["; errors are mean absolute ones"] if _absolute(figures) else []
    if "coverage" in shown:
        caption += ["; sets and intervals were made to hold the truth with a chance of ", _stated(figures)]
    return Table(line(*caption, ":"), head, tuple(body))


def in_short(figures: Figures, task: Node) -> Line | None:
    """A sentence on abstention; None where no rule for it was saved with the model."""
    keys = (*_WHERE, "overall")
    if not isinstance(figures.evaluation.file.at(*keys, "abstained"), dict):
        return None
    parts: list[str | Node] = [task, " abstains where it is unsure or a patient is unlike those learnt from: "]
    parts += ["for a share of ", _figure(figures, keys, "abstained"), " of these patients"]
    if figures.evaluation.file.at(*keys, "risk_answered", "value") is not None:
        error = "mean absolute error" if _absolute(figures) else "share of errors"
        parts += [f"; of the others, the {error} is ", _figure(figures, keys, "risk_answered")]
    return line(*parts, ". Do not rely on what it leans to then.")


def _absolute(figures: Figures) -> bool:
    """Whether an error is a quantity's: a mean, in its unit, and no share."""
    task = figures.evaluation.task
    return task is not None and task.at("kind") == "regression"


def _figure(figures: Figures, keys: tuple[str, ...], key: str) -> Node:
    """A figure of a group; an error of answers rests on those alone from which the model did not abstain."""
    if key != "risk_answered":
        return figures.figure((*keys, key), n=(*keys, "n"))
    file, n = figures.evaluation.file, figures.count(*keys, "n").value
    abstained = file.at(*keys, "abstained", "value")
    places = [file.source(*keys, "n"), file.source(*keys, "abstained", "value")]
    count = None if abstained is None else round(n * (1 - abstained))
    name = f"{figures.evaluation.id}/{'/'.join((*keys, key))}"
    return figures.graph.figure(name, file, (*keys, key), places, split=SPLIT, n=count)


def _stated(figures: Figures) -> Node:
    name = f"{figures.evaluation.id}/reliability/coverage"
    return figures.graph.value(name, figures.evaluation.file, *_WHERE, "coverage")
