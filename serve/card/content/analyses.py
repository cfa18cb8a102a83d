"""What was done with the model beside testing it: trials, groups of patients, biomarkers, each run as its own table."""

from serve.card.chain import Analysis, Evidence
from serve.card.document import Block, Line, Paragraph, Section, Table, line
from serve.card.graph import Node

_OPEN_ROWS = 12  # a longer table is shown on request


def analyses(evidence: Evidence) -> Section | None:
    """A section for each run that was named; None where none was."""
    parts = tuple(_analysis(evidence, analysis) for analysis in evidence.analyses)
    return Section("analyses", line("Analyses of patients and trials"), parts) if parts else None


def _analysis(evidence: Evidence, analysis: Analysis) -> Section:
    graph, run, file = evidence.graph, analysis.run, analysis.results
    stage = graph.derived(f"{run.id}/stage", run.stage, "the command without its prefix", [run.file.source("command")])
    folder = graph.derived(f"{run.id}/name", run.folder.name, "the folder's name", [run.file.source()])
    title: list[str | Node] = [stage, ": ", folder]
    if file.at("title"):
        title = [graph.value(f"{analysis.id}/title", file, "title")]
    blocks: list[Block] = []
    if file.at("seen"):
        blocks.append(Paragraph(line(graph.value(f"{analysis.id}/seen", file, "seen")), loud=True))
    blocks.append(Paragraph(line("By ", stage, ", in ", folder, *_of(evidence, analysis), ".")))
    blocks += [_table(evidence, analysis)]
    return Section(analysis.id, line(*title), tuple(blocks))


def _of(evidence: Evidence, analysis: Analysis) -> Line:
    """On which cohort."""
    run = analysis.run
    if not run.file.at("data", "name"):
        return ()
    return line(", on ", evidence.graph.value(f"{run.id}/data/name", run.file, "data", "name"))


def _table(evidence: Evidence, analysis: Analysis) -> Table:
    graph, file, rows = evidence.graph, analysis.results, []
    for at, entry in enumerate(file.at("figures")):
        keys = ("figures", at)
        words = ", ".join(str(entry["id"]).split("/")[1:] or [str(entry["id"])]).replace("_", " ")
        label = graph.label(f"{analysis.id}/name/{entry['id']}", words, file, *keys, "id")
        # Ids of figures are the run's own: apart from what stands beside them, whatever they are called.
        name, split = f"{analysis.id}/figure/{entry['id']}", str(entry.get("split") or "")
        figure = graph.figure(name, file, keys, split=split)
        cells: list[Line] = [line(label), _count(evidence, analysis, at), line(figure)]
        rows.append((*cells, _estimator(evidence, analysis, at)))
    head = tuple(map(line, ("figure", "patients", "value", "what it is")))
    return Table(line("Every figure of the run:"), head, tuple(rows), folded=len(rows) > _OPEN_ROWS)


def _count(evidence: Evidence, analysis: Analysis, at: int) -> Line:
    keys = ("figures", at, "n")
    if analysis.results.at(*keys) is None:
        return line("–")
    name = f"{analysis.id}/n/{analysis.results.at('figures', at, 'id')}"
    return line(evidence.graph.value(name, analysis.results, *keys, unit="patients"))


def _estimator(evidence: Evidence, analysis: Analysis, at: int) -> Line:
    keys = ("figures", at, "estimator")
    if not analysis.results.at(*keys):
        return line("–")
    name = f"{analysis.id}/estimator/{analysis.results.at('figures', at, 'id')}"
    return line(evidence.graph.value(name, analysis.results, *keys))
