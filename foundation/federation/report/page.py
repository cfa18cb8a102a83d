"""A federated run on one page of HTML that needs nothing beside itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foundation.federation.extension import Extension
from foundation.federation.policy.order import shipped_targets
from foundation.federation.report import compare, participation, privacy_ledger, resources, training_curves
from foundation.federation.report.elements import NOT_MEASURED, Section, duration, size
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Run, number
from foundation.federation.task import task_class
from foundation.files import read_json, write_text

FILE = "report.html"
LEDGER = "ledger.jsonl"
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass
class Figure:
    """A number at the head of the page."""

    name: str
    value: str
    more: str = ""


def write_report(
    output: Path, others: Sequence[Path] = (), ledgers: Sequence[Path] | None = None, problems: Sequence[str] = ()
) -> Path:
    """Writes `report.html` beside the run's history: all of it from the run's own files.

    Args:
        output: the run's folder, with `run.json` and `history.json`.
        others: folders of runs to compare with: local, pooled or federated.
        ledgers: to verify, and to hold against one another; the run's own `ledger.jsonl` if None.
        problems: found with ledgers elsewhere, a line each.

    Returns:
        The path of the page.

    Raises:
        UserError: if the run or another one cannot be read.
    """
    run = Run.read(output)
    if ledgers is None:
        ledgers = [output / LEDGER] if (output / LEDGER).is_file() else []
    ledger, verified = privacy_ledger.ledgers(ledgers, problems)
    extension = _extension(run)
    sections: list[Section | None] = [
        participation.participation(run),
        participation.coverage(run),
        training_curves.losses(run),
        compare.comparison(run, others),
        training_curves.drift(run),
        resources.traffic(run),
        resources.time(run),
        privacy_ledger.privacy(run),
        None if extension is None else extension.section(run),
        ledger,
    ]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    page = environment.get_template("federation.html.jinja").render(
        title=_title(run),
        lead=_lead(run, extension),
        figures=_figures(run, verified, extension),
        sections=[section for section in sections if section],
        foot=_foot(run),
    )
    write_text(output / FILE, page)
    return output / FILE


def _extension(run: Run) -> type[Extension] | None:
    """That of the run's task; nothing is imported at a run's word but what the configs of this release name."""
    config = run.record.get("config") or {}
    shipped = (config.get("federated_task") or {}).get("_target_") in shipped_targets()
    return task_class(config).extension_class if shipped else None


def _title(run: Run) -> str:
    return str((run.record.get("data") or {}).get("name") or run.folder.name)


def _lead(run: Run, extension: type[Extension] | None) -> list[str]:
    record, config = run.record, run.record.get("config") or {}
    lines = []
    if (record.get("data") or {}).get("synthetic"):
        lines.append("Synthetic patients: no person stands behind any number.")
    outside = f"; held out: {', '.join(run.held_out)}" if run.held_out else ""
    lines.append(f"{len(run.sites)} sites: {', '.join(run.sites)}{outside}.")
    parts = []
    for name in ("strategy", "compression", "privacy", "secure", *([extension.name] if extension else [])):
        if config.get(name):
            parts.append(f"{name}: {_part(config[name])}")
    steps = config.get("steps_per_round")
    if steps is not None:
        parts.append(f"{steps} steps a round at each site")
    started = str(record.get("started", NOT_MEASURED)).replace("T", " ").removesuffix("+00:00")
    lines.append("; ".join([f"Started {started} UTC, {record.get('status', 'status unknown')}", *parts]) + ".")
    return lines


def _part(config: Any) -> str:
    """A replaceable part of the run, as its config names it."""
    if not isinstance(config, dict):
        return str(config)
    settings = {
        name: value for name, value in config.items() if name != "_target_" and isinstance(value, int | float | str)
    }
    kind, rest = str(config.get("_target_", "")).rpartition(".")[2], ", ".join(f"{n} {v}" for n, v in settings.items())
    return f"{kind} ({rest})" if kind and rest else kind or rest


def _figures(run: Run, verified: bool | None, extension: type[Extension] | None) -> list[Figure]:
    planned = (run.record.get("config") or {}).get("rounds")
    trained = {site for part in run.rounds for site in part.training}
    missed = sum(len(set(part.absent) - set(part.training) - set(part.evaluation)) for part in run.rounds)
    figures = [
        Figure("Rounds", f"{len(run.rounds)}" + (f" of {planned}" if planned else "")),
        Figure("Sites trained", f"{len(trained)} of {len(run.sites)}", f"{missed} times absent" if missed else ""),
        _loss_figure(run),
    ]
    moved = resources.total_bytes(run)
    ways = {"to_site": "to sites", "from_site": "back"}
    directions = ", ".join(f"{size(moved[way])} {text}" for way, text in ways.items() if way in moved)
    figures.append(Figure("Bytes moved", size(sum(moved.values())) if moved else NOT_MEASURED, directions))
    totals = [resources.phases(run, part) for part in run.rounds]
    seconds = sum(sum(row.values()) for row in totals)
    figures.append(Figure("Time in rounds", duration(seconds) if seconds else NOT_MEASURED))
    both = None if extension is None else extension.spent_with_updates(run)
    spent = both or privacy_ledger.last_epsilon(run)
    delta = "" if spent is None or spent[1] is None else f"delta {written(spent[1])}"
    delta += f", with the {extension.name}" if extension and both else ""
    figures.append(Figure("Epsilon", written(spent[0]) if spent else NOT_MEASURED, delta))
    heads = run.folder / "receipts.json"
    if heads.is_file():
        signed = len(read_json(heads, "restore it from a copy"))
        figures.append(Figure("Heads of sites' ledgers", f"{signed} countersigned", heads.name))
    figures.append(Figure("Ledger", {True: "verified", False: "problems", None: NOT_MEASURED}[verified]))
    return figures


def _loss_figure(run: Run) -> Figure:
    """The last evaluation at held-out hospitals, else at all."""
    last = next((part for part in reversed(run.rounds) if part.evaluation), None)
    if last is None:
        return Figure("Evaluation loss", NOT_MEASURED)
    outside = [site for site in run.held_out if site in last.evaluation]
    losses = [v for site in outside or last.evaluation if (v := number(last.evaluation[site].get("loss"))) is not None]
    name = "Loss, held out" if outside else "Loss, mean of sites"
    return Figure(name, written(sum(losses) / len(losses)) if losses else NOT_MEASURED, f"after round {last.round}")


def _foot(run: Run) -> list[str]:
    code = run.record.get("code") or {}
    commit = (
        f", commit {str(code['commit'])[:12]}{' with changes' if code.get('dirty') else ''}"
        if code.get("commit")
        else ""
    )
    files = "; ".join(f"{name} SHA-256 {digest[:16]}" for name, digest in run.digests.items())
    return [
        f"Every number comes from the files in {run.folder}: {files}.",
        f"Release {code.get('version', 'unknown')}{commit}; config digest {run.history.config_digest or NOT_MEASURED}; "
        f"data digest {(run.record.get('data') or {}).get('digest', NOT_MEASURED)}.",
    ]
