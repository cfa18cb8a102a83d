"""The report's section on the shared bank: who gave how many rows, who gave none and why, and what that spends."""

from typing import Any

from foundation.federation.report.elements import Part, Section, Table, reasons, spans
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Round, Run, number
from foundation.federation.report.privacy_ledger import as_text


def bank(run: Run) -> Section | None:
    """None where the run had no bank."""
    records = {part.round: facts for part in run.rounds if (facts := _of(part)) is not None}
    if not records:
        return None
    none = reasons("Who gave none, and why", ((round_, record.get("none", {})) for round_, record in records.items()))
    parts = [Part(table=_rows_table(records)), *none, *_spent(list(records.values())[-1])]
    notes = [
        "At the end of every round but the last, sites that train give noisy embeddings of patients drawn anew; in the "
        "next round every site tells its own patients' partners from those of the others, too."
    ]
    return Section("Shared bank of embeddings", parts, notes)


def spent_with_bank(run: Run) -> tuple[float, float | None] | None:
    """Epsilon and delta of updates and bank together, as the last round has them; None where there are not both."""
    together = (_of(run.rounds[-1]) or {}).get("with_updates") if run.rounds else None
    epsilon = number((together or {}).get("epsilon"))
    return None if epsilon is None else (epsilon, number((together or {}).get("delta")))


def _of(part: Round) -> dict[str, Any] | None:
    return (part.model_extra or {}).get("bank")


def _rows_table(records: dict[int, dict[str, Any]]) -> Table:
    counts: dict[tuple[str, str], dict[int, int]] = {}
    for round_, record in records.items():
        for site, rows in record.get("rows", {}).items():
            for name, count in rows.items():
                counts.setdefault((site, name), {})[round_] = count
    rows = [
        [site, name, str(sum(by.values())), str(max(by.values())), spans(list(by))]
        for (site, name), by in counts.items()
    ]
    heads = ["site", "modality", "rows", "most in a round", "rounds"]
    return Table("Rows given, by site and modality", heads, rows or [["nobody", "–", "0", "–", "–"]], text=(1, 4))


def _spent(last: dict[str, Any]) -> list[Part]:
    together = last.get("with_updates") or {}
    rows = [
        ["epsilon of the bank, whole run", written(number(last.get("epsilon")))],
        ["epsilon of the bank and of updates", written(number(together.get("epsilon")))],
    ]
    rows += [[name, as_text(value)] for name, value in last.items() if name not in ("rows", "none", "epsilon")]
    table = Table("As the run wrote them down", ["what", "value"], rows, text=(1,))
    return [Part("What it spends, and on which assumptions", table=table)]
