"""The account of a shared bank: what it spends and on which assumptions, for history, run record and report."""

from collections.abc import Iterable, Mapping
from typing import Any

from pretrain.federated.bank.settings import BankSettings


def bank_record(settings: BankSettings, releases: int, updates: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a patient has spent who was drawn each time, and what that rests on (see `embeddings`).

    Args:
        settings: of the run.
        releases: of the site that gave most often.
        updates: the record of the run's privacy; None where updates are not protected.
    """
    spent = settings.spent(releases)
    together = None
    if updates is not None:
        together = {
            "epsilon": spent.epsilon + updates["epsilon_if_replaced"],
            "delta": spent.delta + updates["delta"],
            "composition": "basic: updates, counted as replaced and as their record assumes, and embeddings are added",
        }
    return {
        "level": "patient",
        "epsilon": spent.epsilon,
        "delta": settings.delta,
        "epsilon_of_one": settings.spent().epsilon,
        "releases": releases,
        "noise": settings.deviation,
        "sensitivity": settings.sensitivity,
        "place": "site",
        "with_updates": together,
        "accountant": "exact composition of Gaussian mechanisms (Balle and Wang 2018; Dong, Roth and Su 2022)",
        "neighbours": "all values of one patient, who has the same modalities in both",
        "sampling": "none: every patient may be drawn in every round, so nothing is gained by the draw",
        "assumptions": _ASSUMPTIONS if together else [*_ASSUMPTIONS, _OPEN],
    }


def bank_note(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The run record's note: rows that each site gave in all rounds, who gave none and why, and the last record.

    Args:
        rounds: lines of history.
    """
    records = [line["bank"] for line in rounds if "bank" in line]
    if not records:
        return None
    rows: dict[str, dict[str, int]] = {}
    for part in records:
        for site, counts in part["rows"].items():
            of_site = rows.setdefault(site, {})
            for name, count in counts.items():
                of_site[name] = of_site.get(name, 0) + count
    return {**records[-1], "rows": rows, "none": {site: why for part in records for site, why in part["none"].items()}}


_ASSUMPTIONS = [
    "Each site adds all of its own noise; nobody else is trusted, the server and the other sites included.",
    "Rows are of weights that the server sent, never of weights that a site trained and that did not leave it.",
    "How many patients a site drew, and which modalities they have, is public.",
    "Evaluation metrics that sites send beside them are not protected.",
    "Noise is drawn in double precision from a secret of the operating system; attacks on the last bits of "
    "floating-point noise (Mironov 2012) are not countered.",
]
_OPEN = "Updates leave without noise: this epsilon is of the bank alone, and nothing covers what updates tell."
