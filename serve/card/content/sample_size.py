"""How many patients trained and judged a model, and how exactly that many can tell its main figure."""

import math

from serve.card.content.tables import Figures
from serve.card.document import Line, Table, line
from serve.card.graph import Node

_WIDTH = 0.1  # of an interval of 95 %, as Riley et al. ask for
_Z = 1.96
_MOST = 10_000_000  # patients
_RULE = (
    f"least number of patients whose 95 % interval is at most {_WIDTH:g} wide at this AUC and share of events, by the "
    "standard error of Newcombe 2006 (Riley et al. 2021, 10.1002/sim.9025)"
)
_TAKEN = "Nobody was chosen: every patient of a part of the split whose outcome is known was taken. That many there are"


def sample_size(figures: Figures) -> Table | None:
    """Rows of patients and of precision; None where the main figure has no interval."""
    metric, base = figures.primary[0], f"{figures.evaluation.id}/sample_size"
    value = figures.figure(("overall", metric), ("model", "all", "all", "all", metric))
    if value.low is None or value.high is None:
        return None
    rows: list[tuple[Line, Line]] = [*_trained(figures), *_tested(figures)]
    width = figures.graph.derived(
        f"{base}/width", round(value.high - value.low, 6), "upper less lower end of the interval", value.sources
    )
    rows.append((line("width of the interval of ", *figures.metric("overall", metric)), line(width)))
    enough = _enough(figures, value, metric)
    if enough is not None:
        caption = figures.graph.derived(f"{base}/asked", _WIDTH, "as asked for by the source of the rule", [])
        rows.append((line("test patients for an interval of a width of ", caption), line(enough)))
    return Table(line(_TAKEN, ", and that exactly they tell:"), (line("what"), line("value")), tuple(rows))


def _trained(figures: Figures) -> list[tuple[Line, Line]]:
    """Who trained the head, and how many of them had each outcome, where the run's record counts them."""
    run = next((run for run in figures.evaluation.chain if run.stage.startswith("finetune") and run.trains), None)
    keys = ("notes", "outcomes", "train")
    if run is None or not run.file.at(*keys):
        return []
    rows = []
    for name, count in run.file.at(*keys).items():
        words = figures.graph.label(f"{run.id}/outcomes/name/{name}", name.replace("_", " "), run.file, *keys, name)
        node: str | Node = "fewer than may be told"
        if count is not None:
            node = figures.graph.value(f"{run.id}/outcomes/train/{name}", run.file, *keys, name, unit="patients")
        rows.append((line("in training, ", words), line(node)))
    return rows


def _tested(figures: Figures) -> list[tuple[Line, Line]]:
    file = figures.evaluation.file
    names = [name for name in ("n", *figures.outcomes) if file.at(name) is not None]
    words = {"n": "patients"}
    return [
        (line("in the test, ", figures.label(words.get(name, name.replace("_", " ")), name)), line(figures.count(name)))
        for name in names
    ]


def _enough(figures: Figures, value: Node, metric: str) -> Node | None:
    """Test patients that an interval of the asked width takes; None where the figure is no AUC of two classes."""
    file = figures.evaluation.file
    events, patients = file.at("events"), file.at("n")
    if metric != "auc" or not events or not patients or events >= patients or not isinstance(value.value, float):
        return None
    needed = patients_needed(value.value, events / patients)
    sources = [*value.sources[:1], file.source("events"), file.source("n")]
    return figures.graph.derived(f"{figures.evaluation.id}/sample_size/needed", needed, _RULE, sources, unit="patients")


def standard_error(auc: float, share: float, patients: int) -> float:
    """Of an AUC, by Newcombe 2006 (10.1002/sim.2324), method 4.

    Args:
        auc: between 0 and 1.
        share: of patients with the event.
        patients: with and without it.
    """
    half = patients / 2 - 1
    spread = auc * (1 - auc) * (1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc))
    return math.sqrt(spread / (patients**2 * share * (1 - share)))


def patients_needed(auc: float, share: float) -> int:
    """The least number of patients whose 95 % interval of the AUC is narrow enough; it narrows with their number."""
    low, high = 2, _MOST
    while low < high:
        middle = (low + high) // 2
        if 2 * _Z * standard_error(auc, share, middle) <= _WIDTH:
            high = middle
        else:
            low = middle + 1
    return low
