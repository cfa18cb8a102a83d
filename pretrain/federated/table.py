"""The table of a round: each site's samples, losses and evaluation."""

from typing import Any

from rich.table import Table


def round_table(number: int, rounds: int, facts: dict[str, Any]) -> Table:
    """A site a row: samples that taught each modality, losses, and evaluation on patients outside training.

    Retrieval is the mean of recall over chance of all modality pairs.
    """
    table = Table(title=f"Round {number} of {rounds}")
    modalities = [group for group in facts["coverage"] if ":" not in group and group != "fusion"]
    table.add_column("site")
    for column in (*modalities, "train loss", "evaluated", "loss", "retrieval", "seconds"):
        table.add_column(column, justify="right")
    for site, evaluation in facts["evaluation"].items():
        training = facts["training"].get(site, {"samples": {}, "metrics": {"seconds": 0.0}})
        table.add_row(
            site if training["samples"] else f"{site} (held out)",
            *(str(training["samples"].get(name, "–")) for name in modalities),
            _number(training["metrics"].get("train/loss_epoch")),
            f"{evaluation['patients']:.0f}",
            _number(evaluation.get("loss")),
            _times_chance(evaluation),
            _number(training["metrics"]["seconds"] + evaluation["seconds"], 0),
        )
    return table


def _times_chance(evaluation: dict[str, float]) -> str:
    ratios = [
        value / evaluation[name.replace("/r@", "/chance@")]
        for name, value in evaluation.items()
        if name.endswith("/r@5")
    ]
    return f"{sum(ratios) / len(ratios):.1f}× chance" if ratios else "–"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
