"""Table 1: who the patients are, by hospital."""

from serve.card.chain import Evidence, Run
from serve.card.document import Line, Table, line
from serve.card.graph import Node

Group = tuple[str, ...]  # keys down to a hospital, or to all of them
_KEYS = ("notes", "characteristics")
_QUARTILES = {"value", "low", "high", "n"}
_FEW = "fewer than five, or withheld"


def table_one(evidence: Evidence, run: Run) -> Table | None:
    """Medians and counts as preparation noted them; None for a cohort prepared before it did."""
    whole = run.file.at(*_KEYS, "all")
    if not whole:
        return None
    graph, groups = evidence.graph, [*(("hospitals", name) for name in run.file.at(*_KEYS, "hospitals")), ("all",)]
    rows = []
    for name, cells in whole.items():
        words = graph.label(f"{run.id}/named/{name}", name.replace("_", " "), run.file, *_KEYS, "all", name)
        if cells.keys() == _QUARTILES:
            title = line(words, ", median (quartiles)")
            rows.append((title, *(_quartiles(evidence, run, group, name) for group in groups)))
            continue
        for value in cells:
            level = graph.key(f"{run.id}/level/{name}/{value}", run.file, *_KEYS, "all", name, value)
            counts = (_count(evidence, run, group, name, value) for group in groups)
            rows.append((line(words, ": ", level), *counts))
    titles = [line(graph.key(f"{run.id}/column/{'/'.join(group)}", run.file, *_KEYS, *group)) for group in groups]
    caption = line("What patients are like (counts of persons):")
    return Table(caption, (line("characteristic"), *titles), tuple(rows))


def _quartiles(evidence: Evidence, run: Run, group: Group, name: str) -> Line:
    keys = (*_KEYS, *group, name)
    entry = run.file.at(*keys)
    if not entry or entry.get("value") is None:
        return line(_FEW)
    node: Node = evidence.graph.figure(
        f"{run.id}/table/{'/'.join(group)}/{name}",
        run.file,
        keys,
        interval="quartiles",
        estimator="median",
        style="setting",
    )
    return line(node)


def _count(evidence: Evidence, run: Run, group: Group, name: str, value: str) -> Line:
    counts = run.file.at(*_KEYS, *group, name, default={})
    if value in counts and counts[value] is None:
        return line(_FEW)
    if value not in counts:
        return line("–")
    node = f"{run.id}/table/{'/'.join(group)}/{name}/{value}"
    return line(evidence.graph.value(node, run.file, *_KEYS, *group, name, value, unit="patients"))
