"""Whose data a model comes from: cohorts, hospitals, who has what, and how patients were chosen."""

from pathlib import Path

from serve.card.chain import Evidence, Run
from serve.card.content.table_one import table_one
from serve.card.document import Block, Line, Paragraph, Section, Table, line, listed
from serve.card.graph import File, Node


def data(evidence: Evidence) -> Section:
    """A table of all cohorts, and what their preparation counted."""
    runs = _cohorts(evidence)
    blocks: list[Block] = [_table(evidence, runs)] if runs else []
    for digest, (first, *_) in runs.items():
        prepared = [run for run in evidence.stage("foundation.data") if run.file.at("data", "digest") == digest]
        for run in prepared[:1]:
            blocks += _description(evidence, run)
            makers = (_counts, table_one, _flow, _rules, _columns)
            tables = [maker(evidence, run) for maker in makers]
            blocks += [table for table in tables if table]
        blocks += [table for table in (_split(evidence, first, digest),) if table]
    return Section("data", line("Data and hospitals"), tuple(blocks))


def _cohorts(evidence: Evidence) -> dict[str, list[Run]]:
    """By digest of a cohort, the runs that took it."""
    runs: dict[str, list[Run]] = {}
    for run in evidence.runs:
        if run.file.at("data", "digest"):
            runs.setdefault(run.file.at("data", "digest"), []).append(run)
    return runs


def hospitals(evidence: Evidence, run: Run) -> list[Node]:
    """Names of a cohort's hospitals."""
    names = run.file.at("data", "hospitals", default=[]) or []
    return [
        evidence.graph.value(f"{run.id}/data/hospitals/{at}", run.file, "data", "hospitals", at)
        for at in range(len(names))
    ]


def _table(evidence: Evidence, runs: dict[str, list[Run]]) -> Table:
    graph, rows = evidence.graph, []
    for first, *others in runs.values():

        def fact(key: str, style: str = "", run: Run = first) -> Line:
            value = graph.value(f"{run.id}/data/{key}", run.file, "data", key, style=style)
            return line(value)

        used = {run.stage: run for run in (first, *others)}
        stages = [_stage(evidence, run) for run in used.values()]
        cells = (fact("name"), fact("synthetic"), listed(hospitals(evidence, first)), fact("digest", "digest"))
        rows.append((*cells, listed(stages)))
    head = tuple(map(line, ("cohort", "synthetic", "hospitals", "data digest", "used by")))
    return Table(line("Cohorts:"), head, tuple(rows))


def _stage(evidence: Evidence, run: Run) -> Node:
    return evidence.graph.derived(
        f"{run.id}/stage", run.stage, "the command without its prefix", [run.file.source("command")]
    )


def _counts(evidence: Evidence, run: Run) -> Table | None:
    """Patients by hospital and by what they have, with the cohort's totals."""
    counts = run.file.at("notes", "found", default={})
    if not counts:
        return None
    graph, names = evidence.graph, list(next(iter(counts.values())))
    names = ["patients", *(name for name in names if name != "patients")]
    rows = []
    for hospital, row in counts.items():
        keys = ("notes", "found", hospital)
        cells = [line(graph.key(f"{run.id}/{'/'.join(keys)}", run.file, *keys))]
        for name in names:
            known = name in row
            node = (
                graph.value(f"{run.id}/{'/'.join(keys)}/{name}", run.file, *keys, name, unit="patients")
                if known
                else "–"
            )
            cells.append(line(node))
        rows.append(tuple(cells))
    total = [line("all")]
    for name in names:
        sources = [run.file.source("notes", "found", hospital, name) for hospital in counts]
        number = sum(row.get(name, 0) for row in counts.values())
        total.append(
            line(graph.derived(f"{run.id}/total/{name}", number, "sum over hospitals", sources, unit="patients"))
        )
    first = next(iter(counts))
    titles = [
        line(graph.label(f"{run.id}/counted/{name}", name.replace("_", " "), run.file, "notes", "found", first, name))
        for name in names
    ]
    caption = line("Persons by hospital, and how many of them have each modality:")
    return Table(caption, (line("hospital"), *titles), (*rows, tuple(total)))


def _cohort_file(evidence: Evidence, run: Run) -> File | None:
    path = Path(run.folder) / "cohort.json"
    return evidence.graph.read(path) if path.is_file() else None


def _description(evidence: Evidence, run: Run) -> list[Block]:
    """What whoever declared the cohort says of it."""
    file = _cohort_file(evidence, run)
    if file is None or not file.at("description"):
        return []
    said = evidence.graph.value(f"{run.id}/description", file, "description")
    return [Paragraph(line("By whoever declared the cohort: ", said))]


def _flow(evidence: Evidence, run: Run) -> Table | None:
    """How many patients each step of preparation left."""
    file = _cohort_file(evidence, run)
    if file is None or not file.at("flow"):
        return None
    rows = []
    for at in range(len(file.at("flow"))):
        step, patients = (
            evidence.graph.value(f"{run.id}/flow/{at}/{key}", file, "flow", at, key) for key in ("step", "patients")
        )
        rows.append((line(step), line(patients)))
    return Table(
        line("Patients that each step of preparation left:"), (line("step"), line("patients")), tuple(rows), folded=True
    )


def _rules(evidence: Evidence, run: Run) -> Table | None:
    """What preparation did to cells, files and rows as it was declared, and to how many."""
    file = _cohort_file(evidence, run)
    rows = []
    for at in range(len(file.at("provenance", default=[])) if file else 0):
        assert file is not None
        rule, count = (graph_value(evidence, run, file, "provenance", at, key) for key in ("rule", "count"))
        rows.append((line(rule), line(count)))
    head = (line("rule"), line("times"))
    return Table(line("What preparation changed, as declared:"), head, tuple(rows), folded=True) if rows else None


def _columns(evidence: Evidence, run: Run) -> Table | None:
    """What the record of a patient holds, as the data dictionary declares it."""
    file = _cohort_file(evidence, run)
    declared = file.at("dictionary", "record", default=[]) if file else []
    rows = []
    for at in range(len(declared)):
        keys = ("dictionary", "record", at)
        assert file is not None
        nodes = [graph_value(evidence, run, file, *keys, part) for part in ("name", "kind")]
        rows.append(tuple(map(line, nodes)))
    head = (line("column"), line("kind"))
    return Table(line("Columns of the clinical record:"), head, tuple(rows), folded=True) if rows else None


def graph_value(evidence: Evidence, run: Run, file: File, *keys: str | int) -> Node:
    """A value of a file of a run, called by its keys."""
    return evidence.graph.value(f"{run.id}/{'/'.join(map(str, keys))}", file, *keys)


def _split(evidence: Evidence, first: Run, digest: str) -> Table | None:
    """How many persons trained, validated and tested each task."""
    rows = []
    for evaluation in evidence.evaluations:
        for run in evaluation.chain:
            path = run.folder / "split.json"
            if run.file.at("data", "digest") != digest or not path.is_file():
                continue
            file = evidence.graph.read(path)
            cells = [
                line(
                    evidence.graph.derived(f"{run.id}/name", run.folder.name, "the folder's name", [run.file.source()])
                )
            ]
            for part in ("train", "validation", "test"):
                number = len(file.at(part, default=[]))
                node = evidence.graph.derived(
                    f"{run.id}/split/{part}", number, "number of ids", [file.source(part)], unit="patients"
                )
                cells.append(line(node))
            if tuple(cells) not in rows:
                rows.append(tuple(cells))
    head = tuple(map(line, ("run", "training", "validation", "test")))
    return Table(line("Persons by part of the split:"), head, tuple(rows)) if rows else None
