"""Fairness: by how much the best-served group of a kind fares better than the worst-served."""

from serve.card.content.tables import Figures, metrics
from serve.card.document import Table, line


def gaps(figures: Figures) -> Table | None:
    """A row a kind of group: best and worst level, and the gap with its interval; None where none was evaluated."""
    file, rows = figures.evaluation.file, []
    for group, entry in file.at("gaps", default={}).items():
        title = figures.label(group.replace("_", " "), "gaps", group)
        ends = [
            figures.graph.value(f"{figures.evaluation.id}/gaps/{group}/{end}", file, "gaps", group, end)
            for end in ("best", "worst")
        ]
        for metric, path in metrics(entry).items():
            keys = ("gaps", group)
            shown = figures.figure((*keys, *path), n=(*keys, "n"))
            n = line(figures.count(*keys, "n"))
            rows.append((line(title), figures.metric("gaps", group, metric), *map(line, ends), n, line(shown)))
    words = (
        "Fairness was measured by group, not trained for: no step of training weighs or balances groups of people. "
        "Gaps between groups, with intervals. Best and worst are chosen by these figures, so a gap lies above zero by "
        "chance alone, too:"
    )
    head = tuple(map(line, ("kind of group", "metric", "best", "worst", "patients of both", "gap")))
    return Table(line(words), head, tuple(rows)) if rows else None
