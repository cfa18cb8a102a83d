"""Ledgers as tables."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.reconcile import Side
from foundation.federation.ledger.spent import Spent, spent_by_run

_SHORT = 12


def summary(side: Side) -> list[dict[str, Any]]:
    """By run, in the order in which they came: messages, bytes, rounds and privacy spent."""
    spent = spent_by_run(side.entries)
    rows = []
    for run in dict.fromkeys(entry.run for entry in side.entries if entry.direction):
        messages = [entry for entry in side.entries if entry.direction and entry.run == run]
        loss = spent.get(run)
        rows.append(
            {
                "run": run,
                "rounds": sorted({entry.round for entry in messages if entry.round is not None}),
                **{way: sum(entry.direction == way for entry in messages) for way in ("out", "in")},
                **{f"bytes_{way}": _bytes(messages, way) for way in ("out", "in")},
                "epsilon": None if loss is None else loss.epsilon,
                "delta": None if loss is None else loss.delta,
            }
        )
    return rows


def summary_table(side: Side) -> Table:
    """A run a row, and all of them together."""
    role = "server" if side.server else "site"
    table = Table(title=f"{role} {side.owner}: {len(side.entries)} entries in {side.path}")
    table.add_column("run", overflow="fold")
    for column in ("rounds", "messages out", "in", "bytes out", "in", "epsilon", "delta"):
        table.add_column(column, justify="right")
    rows = summary(side)
    for row in rows:
        loss = None if row["epsilon"] is None else Spent(row["epsilon"], row["delta"])
        table.add_row(
            _short(row["run"]) or "–",
            str(len(row["rounds"])),
            *(f"{row[name]:,}" for name in ("out", "in", "bytes_out", "bytes_in")),
            *_loss(loss),
        )
    if len(rows) > 1:
        table.add_section()
        totals = (f"{sum(row[name] for row in rows):,}" for name in ("out", "in", "bytes_out", "bytes_in"))
        losses = list(spent_by_run(side.entries).values())
        rounds = sum(len(row["rounds"]) for row in rows)
        table.add_row("all", str(rounds), *totals, *_loss(sum(losses, Spent()) if losses else None))
    return table


def entries_table(side: Side, run: str | None) -> Table:
    """An entry a row.

    Args:
        side: whose.
        run: begins like this; all if None.
    """
    table = Table(title=f"{side.owner}: {side.path}")
    for column, right in (("", True), ("time", False), ("", False), ("message", False), ("run", False)):
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for column in ("round", "bytes", "epsilon"):
        table.add_column(column, justify="right")
    for column in ("peer", "digest", "groups, samples", "note"):
        table.add_column(column, overflow="fold")
    for entry in side.entries:
        if entry.run.startswith(run or ""):
            table.add_row(*_row(entry))
    return table


def _row(entry: Entry) -> list[str]:
    way = {"out": "→", "in": "←", None: ""}[entry.direction]
    groups = [*entry.groups, *(name for name in entry.samples if name not in entry.groups)]
    return [
        str(entry.index),
        entry.time[:19].replace("T", " "),
        way,
        entry.kind,
        _short(entry.run),
        "" if entry.round is None else str(entry.round),
        f"{entry.size:,}" if entry.size else "",
        "" if entry.epsilon is None else f"{entry.epsilon:.4g}",
        entry.peer or entry.owner,
        ("masked" if entry.masked else "") or _short(entry.digest),
        ", ".join(f"{name} {entry.samples[name]}" if name in entry.samples else name for name in groups),
        entry.note,
    ]


def _bytes(messages: Iterable[Entry], way: str) -> int:
    return sum(entry.size for entry in messages if entry.direction == way)


def _loss(spent: Spent | None) -> tuple[str, str]:
    return ("–", "–") if spent is None else (f"{spent.epsilon:.4g}", f"{spent.delta:.3g}")


def _short(digest: str) -> str:
    return digest[:_SHORT] if len(digest) == 64 else digest
