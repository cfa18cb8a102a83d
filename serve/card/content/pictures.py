"""Pictures of a result by group and by what the model was shown: a forest plot and a map of subsets."""

from serve.card.content.tables import Figures, metrics
from serve.card.document import Picture, Table, line
from serve.card.drawing import Drawing, Scale, ticks
from serve.card.graph import Node

Row = tuple[list[str | Node], Node]
_STEP, _LEFT, _RIGHT, _WIDTH = 24, 250, 560, 720
_BOUNDED = ("auc", "auroc", "c_index", "uno_c", "auprc", "balanced_accuracy", "accuracy", "f1")


def forest(figures: Figures, name: Node) -> Picture | None:
    """The primary figure with its interval: over all, at a new hospital, by hospital and subgroup, of the baseline."""
    rows = _rows(figures)
    if not rows or figures.primary[0].partition("/")[0] not in _BOUNDED:
        return None
    low = min([0.5, *(node.low for _, node in rows if node.low is not None)])
    scale = Scale(max(0.0, int(low * 10) / 10), 1.0, _LEFT, _RIGHT)
    alt = line("Forest plot: ", *figures.metric("overall", figures.primary[0]), " of ", name, " with its interval.")
    drawing = Drawing(_WIDTH, 34 + _STEP * len(rows), alt)
    bottom = 10 + _STEP * len(rows)
    steps = [scale.low + at * 0.1 for at in range(round((1 - scale.low) * 10) + 1)]
    for value, node in ticks(figures.graph, steps):
        drawing.line(scale(value), 4, scale(value), bottom)
        drawing.text(scale(value), bottom + 16, [node], "middle")
    whole = rows[0][1]
    if isinstance(whole.value, float):
        drawing.line(scale(whole.value), 4, scale(whole.value), bottom, "guide")
    for at, (label, node) in enumerate(rows):
        _row(drawing, scale, 20 + _STEP * at, label, node)
    return Picture(f"{figures.evaluation.id}/forest", drawing.svg(), alt)


def _row(drawing: Drawing, scale: Scale, y: float, label: list[str | Node], node: Node) -> None:
    drawing.text(_LEFT - 10, y + 4, label, "end")
    drawing.text(_RIGHT + 10, y + 4, [node])
    if not isinstance(node.value, float):
        return
    if node.low is not None and node.high is not None:
        drawing.line(scale(node.low), y, scale(node.high), y, "whisker")
    drawing.box(scale(node.value) - 4, y - 4, 8, 8, "other" if "baseline" in node.id else "one")


def _rows(figures: Figures) -> list[Row]:
    file, metric = figures.evaluation.file, figures.primary[0]
    whole = ("model", "all", "all", "all", metric)
    rows: list[Row] = [(["all test patients"], figures.figure(("overall", metric), whole))]
    if file.at("new_hospital", metric, "value") is not None:
        rows.append((["a new hospital"], figures.figure(("new_hospital", metric), whole)))
    rows += _levels(figures, ("by_hospital",), "hospital ", ("all", "hospital"))
    rows += _levels(figures, ("groups",), "", ())
    for group in file.at("by_group", default={}):
        if group != "has":
            words = figures.label(f"{group.replace('_', ' ')}: ", "by_group", group)
            rows += _levels(figures, ("by_group", group), words, ("all", group))
    if file.at("baseline", metric) is not None:
        rows.append((["age and sex alone"], figures.figure(("baseline", metric), ("age and sex", *whole[1:]))))
    return rows


def _levels(figures: Figures, keys: tuple[str, ...], words: str | Node, row: tuple[str, ...]) -> list[Row]:
    rows: list[Row] = []
    for level, group in figures.evaluation.file.at(*keys, default={}).items():
        metric = figures.primary[0]
        path = metrics(group).get(metric)
        if path and group[path[0]].get("value") is not None:
            n = (*keys, level, *(("n",) if "n" in group else (*path, "n")))
            node = figures.figure((*keys, level, *path), ("model", *row, level, metric) if row else (), n)
            rows.append(([words, figures.name(*keys, level)], node))
    return rows


def subsets(figures: Figures, name: Node) -> Picture | None:
    """A map of what the model was shown and how well it answered."""
    table = figures.evaluation.file.at("by_modality", default={})
    metric = figures.primary[0]
    rows = [label for label, group in table.items() if metric in metrics(group)]
    names = [label.removesuffix(" alone") for label in rows if label.endswith(" alone")]
    if len(names) < 2 or metric.partition("/")[0] not in _BOUNDED:
        return None
    alt = line("Map of subsets: which modalities ", name, " was shown, and how well it answered; darker is better.")
    drawing = Drawing(_WIDTH, 40 + _STEP * len(rows), alt)
    width = (_RIGHT - _LEFT + 60) / len(names)
    for at, modality in enumerate(names):
        head = figures.label(modality.replace("_", " "), "by_modality", f"{modality} alone")
        drawing.text(_LEFT - 60 + width * (at + 0.5), 16, [head], "middle")
    for at, label in enumerate(rows):
        y, keys = 26 + _STEP * at, ("by_modality", label)
        node = figures.figure((*keys, metric), ("model", label, "all", "all", metric), (*keys, "n"))
        drawing.text(_LEFT - 70, y + 14, [figures.name(*keys)], "end")
        drawing.text(_RIGHT + 10, y + 14, [node])
        share = 0.0 if not isinstance(node.value, float) else max(0.08, min(1.0, (node.value - 0.5) * 2))
        for column, modality in enumerate(names):
            shown = label in ("all", f"{modality} alone") or (label.startswith("all but ") and label[8:] != modality)
            kind = "one" if shown else "empty"
            drawing.box(_LEFT - 60 + width * column + 2, y, width - 4, _STEP - 4, kind, share if shown else 1.0)
    return Picture(f"{figures.evaluation.id}/subsets", drawing.svg(), alt)


def pictures(figures: Figures, name: Node) -> list[Picture]:
    """Both, where the figures allow."""
    return [picture for picture in (forest(figures, name), subsets(figures, name)) if picture is not None]


def behind(head: tuple[str, ...], rows: list[tuple[str | Node, ...]]) -> Table:
    """The table behind a picture."""
    body = tuple(tuple(line(cell) for cell in row) for row in rows)
    return Table(line("The same in figures:"), tuple(map(line, head)), body, folded=True)
