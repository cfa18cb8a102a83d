"""The report's sections on protection: privacy spent, secure sums, and ledgers that show every change."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.federation.ledger.files import load
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.report import charts
from foundation.federation.report.charts import Panel
from foundation.federation.report.elements import Part, Section, Table, unmeasured
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Run, number


def privacy(run: Run) -> Section:
    """Epsilon round by round, delta, and what the accountant assumed."""
    title = "Privacy spent"
    records = {part.round: part.privacy for part in run.rounds if part.privacy}
    noted = (run.record.get("notes") or {}).get("privacy")
    parts = [unmeasured("Epsilon and delta"), *_secure(run)]
    if records:
        epsilon = [number((part.privacy or {}).get("epsilon")) for part in run.rounds]
        numbers = [part.round for part in run.rounds]
        rows = [
            [str(n), written(number(record.get("epsilon"))), written(number(record.get("delta")))]
            for n, record in records.items()
        ]
        table = Table("By round, of all rounds until then", ["round", "epsilon", "delta"], rows)
        known = [value for value in epsilon if value is not None]
        panel = Panel(
            "epsilon, of all rounds until then", {"epsilon": epsilon}, end=written(known[-1]) if known else ""
        )
        picture = charts.panels(numbers, [panel], "Epsilon spent, round by round", (0.0, 0.0)) if known else None
        parts[0] = Part("", [], picture, table)
    assumed = _assumptions(list(records.values())[-1] if records else {}, noted)
    if assumed:
        table = Table("As the run wrote them down", ["what", "value"], assumed, text=(1,))
        parts.insert(1, Part("Mechanism and assumptions", table=table))
    notes = [] if records else ["A run without noise promises no differential privacy; nothing here says that it does."]
    return Section(title, parts, notes)


def last_epsilon(run: Run) -> tuple[float, float | None] | None:
    """Epsilon and delta of the whole run, as its last round has them."""
    for part in reversed(run.rounds):
        epsilon = number((part.privacy or {}).get("epsilon"))
        if epsilon is not None:
            return epsilon, number((part.privacy or {}).get("delta"))
    return None


def _assumptions(last: dict[str, Any], noted: Any) -> list[list[str]]:
    facts = {name: value for name, value in last.items() if name not in ("epsilon", "delta")}
    if isinstance(noted, dict):
        facts |= noted
    elif noted is not None:
        facts["privacy"] = noted
    return [[name, as_text(value)] for name, value in facts.items()]


def as_text(value: Any) -> str:
    """A fact as it was written down, in words where it is words."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "; ".join(value)
    return json.dumps(value, sort_keys=True)


def _secure(run: Run) -> list[Part]:
    """What the server saw where it saw sums alone."""
    facts = [(part.round, part.secure) for part in run.rounds if part.secure is not None]
    if not facts:
        return []
    names = list(dict.fromkeys(name for _, of_round in facts for name in of_round))
    rows = [[str(number_), *(as_text(of_round.get(name)) for name in names)] for number_, of_round in facts]
    table = Table(
        "Rounds in which the server saw sums over sites, and no site's own update",
        ["round", *names],
        rows,
        text=tuple(range(1, len(names) + 1)),
    )
    return [Part("Secure aggregation", table=table)]


@dataclass
class ExaminedLedger:
    """A ledger, examined.

    Attributes:
        path: of it.
        owner: whose; empty where it does not say.
        entries: how many can be read.
        problems: what is wrong with it by itself, a line each.
        rows: what it noted, for the table.
    """

    path: Path
    owner: str
    entries: int
    problems: list[str]
    rows: list[str]


def ledgers(paths: Sequence[Path], extra: Sequence[str]) -> tuple[Section, bool | None]:
    """Whether the ledgers are whole, and agree.

    Args:
        paths: of the server's, and of sites'.
        extra: problems that were found elsewhere, a line each.

    Returns:
        The section; true or false as all is well, None where there is no ledger.
    """
    title = "Ledger"
    if not paths and not extra:
        return Section(title, [unmeasured("Ledger", "no ledger was found or given; it")]), None
    examined = [_examine(path) for path in paths]
    problems = [*extra, *(problem for ledger in examined for problem in ledger.problems)]
    if len(paths) > 1 and not problems:
        problems += _reconcile(paths)
    rows = [[ledger.owner or "–", str(ledger.path), str(ledger.entries), *ledger.rows] for ledger in examined]
    heads = ["whose", "file", "entries", "messages out", "messages in", "bytes out", "bytes in", "verified"]
    parts = [Part(table=Table("Read and verified for this page", heads, rows, text=(1,)))] if rows else []
    if problems:
        lines = [[str(index), line] for index, line in enumerate(problems, 1)]
        parts.append(Part("Problems", table=Table("As they were found", ["", "problem"], lines, text=(1,))))
    count = sum(ledger.entries for ledger in examined)
    good = not problems
    checked = "reconciled with one another" if len(paths) > 1 else "not held against the other side's"
    verdict = (
        f"Verified: {count:,} entries, none altered; {checked}." if good else f"Not verified: {len(problems)} found."
    )
    return Section(title, parts, _NOTES, verdict, good), good


_NOTES = [
    "Every entry holds the hash of the one before. What one side alone changed from the first entry on, only the other "
    "side's ledger can tell: python -m foundation.federation.ledger reconcile."
]


def _examine(path: Path) -> ExaminedLedger:
    try:
        chain = load(path)
    except UserError as error:
        return ExaminedLedger(path, "", 0, [str(error)], ["–"] * 4 + ["no"])
    problems = [str(problem) for problem in chain.problems]
    ways = [[entry for entry in chain.entries if entry.direction == way] for way in ("out", "in")]
    counts = [f"{len(entries):,}" for entries in ways] + [
        f"{sum(entry.size for entry in entries):,}" for entries in ways
    ]
    owner = chain.entries[0].owner if chain.entries else ""
    return ExaminedLedger(path, owner, len(chain.entries), problems, [*counts, "no" if problems else "yes"])


def _reconcile(paths: Sequence[Path]) -> list[str]:
    try:
        problems = reconcile([Side.read(path) for path in paths])
    except UserError as error:
        return [str(error)]
    return [f"{problem.kind}: {problem}" for problem in problems if problem.kind != "unchecked"]
