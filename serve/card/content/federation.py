"""How hospitals trained together: who was there, whose data made which part, what was protected, what ledgers say."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.lineage import NOTE, site_list
from serve.card.chain import Evidence, Run
from serve.card.document import Block, Line, Paragraph, Picture, Section, Table, line
from serve.card.drawing import Drawing
from serve.card.graph import File, Node

_SETTINGS = {
    "rounds": "rounds",
    "steps_per_round": "steps a round",
    "quorum": "share of sites that a round needs",
    "deadline": "deadline of a round, seconds",
}
_CLASSES = {
    "strategy": "aggregation",
    "privacy": "privacy of updates",
    "secure": "secure sums",
    "compression": "compression",
    "screening": "screening of updates",
}


def federation(evidence: Evidence) -> Section | None:
    """A section for each federated run that trained; None where all was trained in one place."""
    runs = evidence.stage("pretrain.federated", "finetune.federated")
    parts = tuple(_run(evidence, run) for run in runs)
    return Section("federation", line("The federation"), parts) if parts else None


def _run(evidence: Evidence, run: Run) -> Section:
    path = run.folder / "history.json"
    history = evidence.graph.read(path) if path.is_file() else None
    stage = evidence.graph.derived(
        f"{run.id}/stage", run.stage, "the command without its prefix", [run.file.source("command")]
    )
    words = (
        "Hospitals trained on their own patients; only weights and counts left them. A part of the model is averaged "
    )
    blocks: list[Block] = [Paragraph(line(words, "over the hospitals that trained it."))]
    blocks += [_settings(evidence, run)]
    if history is not None:
        blocks += [_sites(evidence, run, history), _timeline(evidence, run, history)]
    coverage = _coverage(evidence, run)
    blocks += [*([coverage] if coverage else []), _privacy(evidence, run)]
    folder = evidence.graph.derived(f"{run.id}/name", run.folder.name, "the folder's name", [run.file.source()])
    return Section(f"federation/{run.id}", line(stage, ": ", folder), tuple(blocks))


def _settings(evidence: Evidence, run: Run) -> Table:
    graph, rows = evidence.graph, []
    for key, words in _SETTINGS.items():
        if run.file.at("config", key) is not None:
            node = graph.value(f"{run.id}/config/{key}", run.file, "config", key, style="setting")
            rows.append((line(words), line(node)))
    for key, words in _CLASSES.items():
        target = run.file.at("config", key, "_target_")
        if target is None or target.endswith(".Privacy"):  # the class of no protection
            rows.append((line(words), line("none")))
            continue
        source = run.file.source("config", key, "_target_")
        name = graph.derived(f"{run.id}/config/{key}", target.rpartition(".")[2], "the class", [source])
        rows.append((line(words), line(name, *_plain_settings(evidence, run, key))))
    return Table(line("How it was run:"), (line("setting"), line("value")), tuple(rows))


def _plain_settings(evidence: Evidence, run: Run, key: str) -> Iterator[str | Node]:
    """Settings of a class, in brackets."""
    content = run.file.at("config", key)
    names = [name for name, value in content.items() if name[0] != "_" and isinstance(value, str | int | float)]
    for at, name in enumerate(names):
        yield " (" if at == 0 else ", "
        yield evidence.graph.label(f"{run.id}/{key}/{name}/name", name.replace("_", " "), run.file, "config", key, name)
        yield " "
        yield evidence.graph.value(f"{run.id}/config/{key}/{name}", run.file, "config", key, name, style="setting")
    if names:
        yield ")"


def _sites(evidence: Evidence, run: Run, history: File) -> Table:
    """Persons, rounds, bytes and the ledger of each site."""
    rounds = history.at("rounds", default=[])
    names = sorted({site for one in rounds for site in one["training"]})
    rows = [_site(evidence, run, history, site, rounds) for site in names]
    server = _ledger(evidence, run, "server", run.folder)
    rows.append((line("the server"), *[line("–")] * 4, *server))
    head = ("site", "rounds trained", "persons who trained", "persons who validated", "bytes sent")
    caption = line(
        "Sites: persons are patients, each counted once; a ledger's head commits to every message before it:"
    )
    return Table(caption, tuple(map(line, (*head, "ledger entries", "ledger head"))), tuple(rows))


def _site(evidence: Evidence, run: Run, history: File, site: str, rounds: list[Mapping[str, Any]]) -> tuple[Line, ...]:
    graph, base = evidence.graph, f"{run.id}/site/{site}"
    there = [at for at, one in enumerate(rounds) if site in one["training"]]
    sources = [history.source("rounds", at, "training", site) for at in there]
    name = graph.key(f"{base}/name", history, "rounds", there[0], "training", site)
    trained = graph.derived(
        f"{base}/rounds", len(there), "number of rounds in which it trained", sources, unit="rounds"
    )
    sent = [rounds[at]["training"][site].get("bytes", {}).get("from_site") for at in there]
    total: str | Node = "–"
    if None not in sent:
        places = [history.source("rounds", at, "training", site, "bytes", "from_site") for at in there]
        total = graph.derived(f"{base}/bytes", sum(sent), "sum over rounds", places, unit="bytes")
    persons = _persons(evidence, run, site)
    home = run.folder / "sites" / site
    return (line(name), line(trained), *persons, line(total), *_ledger(evidence, run, f"site/{site}", home))


def _timeline(evidence: Evidence, run: Run, history: File) -> Picture:
    """Who trained in which round."""
    rounds = history.at("rounds", default=[])
    names = sorted({site for one in rounds for site in one["training"]})
    alt = line("Timeline of the federation: filled where a site trained in a round, empty where it did not.")
    drawing, step = Drawing(720, 34 + 24 * len(names), alt), 500 / max(1, len(rounds))
    for row, site in enumerate(names):
        drawing.text(170, 18 + 24 * row, [evidence.graph.nodes[f"{run.id}/site/{site}/name"]], "end")
        for at, one in enumerate(rounds):
            kind = "one" if site in one["training"] else "empty"
            drawing.box(180 + step * at, 4 + 24 * row, max(1.0, step - 3), 18, kind)
    last = evidence.graph.derived(
        f"{run.id}/timeline/last", len(rounds), "number of rounds", [history.source("rounds")]
    )
    drawing.text(180, 24 + 24 * len(names), ["first round"])
    drawing.text(680, 24 + 24 * len(names), ["round ", last], "end")
    return Picture(f"{run.id}/timeline", drawing.svg(), alt)


def _persons(evidence: Evidence, run: Run, site: str) -> tuple[Line, Line]:
    """How many patients of a site trained and validated: of its own list, where that lies here."""
    path = site_list(run.folder / "sites" / site, str(run.file.at("notes", NOTE, "run")))
    if not path.is_file():
        return line("kept at the site"), line("kept at the site")
    file, cells = evidence.graph.read(path), []
    for part in ("train", "validation"):
        number = len(file.at(part, default=[]))
        name = f"{run.id}/site/{site}/persons/{part}"
        node = evidence.graph.derived(name, number, "number of ids", [file.source(part)], unit="patients")
        cells.append(line(node))
    return cells[0], cells[1]


def _ledger(evidence: Evidence, run: Run, owner: str, home: Path) -> tuple[Line, Line]:
    """Entries and head of a ledger, where it lies here."""
    path = home / "ledger.jsonl.head"
    if not path.is_file():
        return line("–"), line("kept at the site" if owner != "server" else "–")
    file, base = evidence.graph.read(path), f"{run.id}/{owner}/ledger"
    entries = evidence.graph.value(f"{base}/entries", file, "entries")
    return line(entries), line(evidence.graph.value(f"{base}/head", file, "hash", style="digest"))


def _coverage(evidence: Evidence, run: Run) -> Table | None:
    """What share each site had in each part of the model, in the last round."""
    coverage = run.file.at("notes", "coverage", default={})
    sites = sorted({site for shares in coverage.values() for site in shares})
    if not sites:
        return None
    graph, rows = evidence.graph, []
    for group, shares in coverage.items():
        keys = ("notes", "coverage", group)
        cells = [line(graph.key(f"{run.id}/coverage/{group}", run.file, *keys))]
        for site in sites:
            name = f"{run.id}/coverage/{group}/{site}"
            known = site in shares
            cells.append(line(graph.value(name, run.file, *keys, site, style="percent") if known else "–"))
        rows.append(tuple(cells))
    first = {site: next(group for group, shares in coverage.items() if site in shares) for site in sites}
    heads = [graph.key(f"{run.id}/covers/{site}", run.file, "notes", "coverage", first[site], site) for site in sites]
    caption = line("Whose updates made which part of the model (share of the last round's mean):")
    return Table(caption, (line("part of the model"), *map(line, heads)), tuple(rows))


def _privacy(evidence: Evidence, run: Run) -> Block:
    """What privacy was spent, and under which assumptions."""
    spent = run.file.at("notes", "privacy")
    if not spent:
        return Paragraph(
            line("No differential privacy: updates left as they are. Whoever reads them could learn of a site.")
        )
    rows = []
    for key, value in spent.items():
        if isinstance(value, str | int | float) or value is None:
            node = evidence.graph.value(f"{run.id}/privacy/{key}", run.file, "notes", "privacy", key)
            keys = ("notes", "privacy", key)
            words = evidence.graph.label(f"{run.id}/privacy/{key}/name", key.replace("_", " "), run.file, *keys)
            rows.append((line(words), line(node)))
    for at in range(len(spent.get("assumptions", []))):
        said = evidence.graph.value(f"{run.id}/assumption/{at}", run.file, "notes", "privacy", "assumptions", at)
        rows.append((line("assumption"), line(said)))
    return Table(line("Differential privacy spent:"), (line("fact"), line("value")), tuple(rows))
