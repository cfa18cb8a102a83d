"""Tables of figures by group, each cell a node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError
from serve.card.chain import Evaluation, Evidence
from serve.card.document import Line, Table, line
from serve.card.graph import Graph, Node

NAMES = {
    "auc": "AUC",
    "auroc": "AUC",
    "auprc": "AUPRC",
    "c_index": "C-index",
    "uno_c": "Uno's C",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "f1": "F score",
    "c_index_within_hospitals": "C-index within hospitals",
    "integrated_brier": "integrated Brier score",
    "brier_gain": "Brier score less than Kaplan–Meier's",
    "d_calibration_p": "D-calibration, p",
}
SPLIT = "test"


def metric_name(key: str) -> str:
    """`auc/mutant` as "AUC, mutant"."""
    name, _, part = key.partition("/")
    return NAMES.get(name, name.replace("_", " ")) + (f", {part.replace('_', ' ')}" if part else "")


def metrics(group: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By metric the keys down to its figure, of those entries of a group that hold a value."""
    inside = ("metrics",) if isinstance(group.get("metrics"), dict) else ()
    entries = group["metrics"] if inside else group
    return {key: (*inside, key) for key, entry in entries.items() if isinstance(entry, dict) and "value" in entry}


@dataclass
class Figures:
    """The figures of one evaluation as nodes.

    Args:
        evidence: that they belong to.
        evaluation: that holds them.
    """

    evidence: Evidence
    evaluation: Evaluation

    def __post_init__(self) -> None:
        rows = self.evaluation.results.at("figures", default=[]) if self.evaluation.results else []
        self._rows = {row["id"]: (at, row) for at, row in enumerate(rows)}
        self._task = self.evaluation.results.at("task") if self.evaluation.results else None

    @property
    def graph(self) -> Graph:
        """The graph that nodes go into."""
        return self.evidence.graph

    def figure(self, keys: Sequence[str], row: Sequence[str] = (), n: Sequence[str] = ("n",)) -> Node:
        """One figure.

        Args:
            keys: down to it in `evaluation.json`.
            row: model, subset, group, level and metric of its row in `results.json`.
            n: keys down to the patients that it rests on.
        """
        file, results = self.evaluation.file, self.evaluation.results
        facts: dict[str, Any] = {"split": SPLIT}
        beside = []
        if file.at(*n) is not None:
            facts["n"] = file.at(*n)
            beside.append(file.source(*n))
        known = self._rows.get("/".join([str(self._task), *row])) if row else None
        if known is not None and results is not None:
            at, facts_of_row = known
            part = facts_of_row["new_hospital"] if keys[0] == "new_hospital" else facts_of_row
            self._agree(
                keys, file.at(*keys), part, ("low", "high") if part is not facts_of_row else ("value", "low", "high")
            )
            facts |= {key: facts_of_row[key] for key in ("estimator", "split")} | {"interval": part["interval"] or ""}
            beside.append(results.source("figures", at))
        return self.graph.figure(f"{self.evaluation.id}/{'/'.join(keys)}", file, keys, beside, **facts)

    def _agree(self, keys: Sequence[str], entry: Any, row: Any, parts: Sequence[str]) -> None:
        """Refuses an evaluation whose two files say different things."""
        for part in parts:
            if entry.get(part) != row.get(part):
                place = f"{self.evaluation.file.path}: {part} of {'/'.join(keys)}"
                raise UserError(f"{place} is {entry.get(part)}, but {row.get(part)} in results.json; evaluate again")

    def count(self, *keys: str) -> Node:
        """A number of patients."""
        name = f"{self.evaluation.id}/{'/'.join(keys)}"
        return self.graph.value(name, self.evaluation.file, *keys, unit="patients")

    def name(self, *keys: str) -> Node:
        """A key as a name."""
        return self.graph.key(f"{self.evaluation.id}/name/{'/'.join(keys)}", self.evaluation.file, *keys)

    def metric(self, *keys: str) -> Line:
        """A metric's name: words, unless it holds a number."""
        return line(self.label(metric_name(keys[-1]), *keys))

    def label(self, words: str, *keys: str) -> str | Node:
        """A key in words."""
        return self.graph.label(f"{self.evaluation.id}/name/{'/'.join(keys)}", words, self.evaluation.file, *keys)

    def by(
        self, caption: Line, title: str | Node, keys: Sequence[str], rows: Mapping[str, Sequence[str]]
    ) -> Table | None:
        """A table of groups: label, patients, those by outcome, and the primary figure.

        Args:
            caption: of the table.
            title: of its first column.
            keys: down to the groups in `evaluation.json`.
            rows: by label to show, subset, group and level of its figures in `results.json`.
        """
        groups = {label: self.evaluation.file.at(*keys, label) for label in rows}
        order = [metric for metric in self.primary if any(metric in metrics(group) for group in groups.values())]
        if not order:
            return None
        counted = [name for name in self.outcomes if any(name in group for group in groups.values())]
        head: tuple[Line, ...] = (
            line(title),
            line("patients"),
            *(line(self.label(name.replace("_", " "), name)) for name in counted),
        )
        head = (*head, *(self.metric("overall", key) for key in order))
        body = []
        for label, group in groups.items():
            paths = metrics(group)
            n = (*keys, label, *(("n",) if "n" in group else (*paths[order[0]], "n")))
            cells = [line(self.name(*keys, label)), line(self.count(*n))]
            cells += [line(self.count(*keys, label, name)) if name in group else line("–") for name in counted]
            for metric in order:
                path = paths.get(metric)
                figure = self.figure((*keys, label, *path), ("model", *rows[label], metric), n) if path else "–"
                cells.append(line(figure))
            body.append(tuple(cells))
        return Table(caption, head, tuple(body))

    @property
    def primary(self) -> list[str]:
        """The metric that tables of groups show, first of the whole's; a group may hold another beside it."""
        overall = list(metrics(self.evaluation.file.at("overall")))
        shown = [key for key in overall if any(key in metrics(group) for group in self._groups())]
        return shown[:1] or overall[:1]

    @property
    def outcomes(self) -> list[str]:
        """Names of the counts of patients by outcome."""
        content = self.evaluation.file.content
        return [
            name
            for name, value in content.items()
            if name != "n" and (isinstance(value, int | None)) and not isinstance(value, bool)
        ]

    def _groups(self) -> list[Any]:
        tables = (self.evaluation.file.at(name, default={}) for name in ("by_hospital", "by_modality"))
        return [group for table in tables for group in table.values()]
