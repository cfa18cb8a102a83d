"""Which runs a model comes from, each with its code, its config and its data."""

from serve.card.chain import Evidence, Run
from serve.card.document import Line, Section, Table, line
from serve.card.graph import Node


def lineage(evidence: Evidence) -> Section:
    """A row a run, newest first, then versions."""
    rows = tuple(_row(evidence, run) for run in evidence.runs)
    head = tuple(
        map(line, ("run", "command", "status", "started", "code", "config digest", "data digest", "builds on"))
    )
    caption = line("Every run behind this card, newest first:")
    tables = (Table(caption, head, rows), _packages(evidence))
    return Section("lineage", line("Where every number comes from"), tables)


def _name(evidence: Evidence, run: Run) -> Node:
    return evidence.graph.derived(f"{run.id}/name", run.folder.name, "the folder's name", [run.file.source()])


def _row(evidence: Evidence, run: Run) -> tuple[Line, ...]:
    graph, file = evidence.graph, run.file
    facts = [graph.value(f"{run.id}/{key}", file, key) for key in ("command", "status", "started")]
    code: list[str | Node] = [graph.value(f"{run.id}/version", file, "code", "version")]
    if file.at("code", "commit"):
        code += [" ", graph.value(f"{run.id}/commit", file, "code", "commit", style="digest")]
    if file.at("code", "dirty"):
        code.append(" (changed)")
    config = graph.value(f"{run.id}/config_digest", file, "config_digest", style="digest")
    data = graph.value(f"{run.id}/data/digest", file, "data", "digest", style="digest")
    parents = [(run.folder / link["path"]).resolve() for link in file.at("builds_on", default=[])]
    names: list[str | Node] = []
    for other in evidence.runs:
        if other.folder in parents:
            names += [*([", "] if names else []), _name(evidence, other)]
    cells = (_name(evidence, run), *facts)
    return (*map(line, cells), line(*code), line(config), line(data), line(*(names or ["–"])))


def _packages(evidence: Evidence) -> Table:
    """Versions of packages, of the newest run."""
    run = evidence.runs[0]
    graph, rows = evidence.graph, []
    for name in run.file.at("packages", default={}):
        keys = ("packages", name)
        label = graph.key(f"{run.id}/packages/{name}/name", run.file, *keys)
        rows.append((line(label), line(graph.value(f"{run.id}/packages/{name}", run.file, *keys))))
    return Table(line("Versions:"), (line("package"), line("version")), tuple(rows), folded=True)
