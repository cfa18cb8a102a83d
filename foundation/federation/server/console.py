"""The table of a round: each site's samples, losses and evaluation."""

from typing import Any

from rich.table import Table
from rich.text import Text


def round_table(number: int, rounds: int, facts: dict[str, Any], extension: str = "") -> Table:
    """A site a row: samples that trained each modality, losses, and evaluation on patients outside training.

    Retrieval is the mean of recall over chance of all modality pairs. What a site's policy keeps at home, and what a
    site that was absent did not say, is a dash. Names fold where the terminal is narrow.
    """
    table = Table(title=f"Round {number} of {rounds}")
    modalities = [group for group in facts["coverage"] if ":" not in group and group != "fusion"]
    table.add_column("site", overflow="fold")
    for column in (*modalities, "train loss", "evaluated", "loss", "retrieval", "seconds"):
        table.add_column(column, justify="right", overflow="fold")
    for site in dict.fromkeys([*facts["evaluation"], *facts["training"], *facts["absent"]]):
        training = facts["training"].get(site, {"samples": {}, "metrics": {}})
        evaluation = facts["evaluation"].get(site, {})
        table.add_row(
            Text(
                site if site in facts["training"] else f"{site} ({'absent' if site in facts['absent'] else 'held out'})"
            ),
            *(str(training["samples"].get(name, "–")) for name in modalities),
            _number(training["metrics"].get("train/loss_epoch")),
            _number(evaluation.get("patients"), 0),
            _number(evaluation.get("loss")),
            _times_chance(evaluation),
            _number(training["metrics"].get("seconds", 0.0) + evaluation.get("seconds", 0.0), 0),
        )
    for site, reason in facts["absent"].items():
        _add_caption(table, f"{site}: {reason}")
    for site, reason in facts.get(extension, {}).get("none", {}).items():
        _add_caption(table, f"{site} gives nothing to the {extension}: {reason}")
    return table


def _add_caption(table: Table, line: str) -> None:
    """Adds a line as it stands: what a site says is no markup of the terminal's."""
    table.caption = Text(f"{table.caption}\n{line}" if table.caption else line)


def _times_chance(evaluation: dict[str, float]) -> str:
    ratios = [
        value / chance
        for name, value in evaluation.items()
        if name.endswith("/r@5") and (chance := evaluation.get(name.replace("/r@", "/chance@")))
    ]
    return f"{sum(ratios) / len(ratios):.1f}× chance" if ratios else "–"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
