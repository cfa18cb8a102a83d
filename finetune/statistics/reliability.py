"""Statistics of how far answers can be relied on: coverage of regions, abstention, risk and coverage."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics, listed
from foundation.statistics.answers import AnswerTable
from foundation.statistics.figure import Support


class ReliabilityStatistics(TaskStatistics):
    """Of answers, `[patients, 7]`, as `finetune.reliability.evaluation` gives them.

    Args:
        coverage: chance with which a region is to hold the truth.
    """

    primary = "coverage"

    def __init__(self, coverage: float) -> None:
        self.coverage = coverage

    def exact(self, targets: Targets, estimates: Column) -> Self:
        """Itself: confidence is counted to a hundredth everywhere."""
        return self

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        truths, inside, size, flagged, abstained, loss, confidence = estimates.T
        columns = (truths, inside, size, flagged, abstained, loss, confidence)
        return {"answers": AnswerTable.from_patients(*columns, weights)}

    def empty(self, replicates: int = 0) -> Tables:
        return {"answers": AnswerTable.empty(replicates)}

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        table = tables["answers"]
        n = int(table.counts[0, 0])
        values = {
            "coverage": (table.coverage(), f"share of truths inside their region, {self.coverage:g} stated"),
            "region_size": (table.mean_size(), "mean number of classes in the set, or width of the interval"),
            "out_of_distribution": (table.flagged(), "share of patients with a modality out of distribution"),
            "abstained": (table.abstained(), "share of patients who get no answer"),
            "risk_answered": (table.risk_answered(), "share of wrong answers, or mean absolute error, where answered"),
            "risk": (table.risk(), "the same had all been answered"),
            "area_under_risk_coverage": (table.area_under_risk_coverage(), "area under the risk-coverage curve"),
        }
        return {name: Measure(column, estimator, n) for name, (column, estimator) in values.items()}

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        curve = tables["answers"].risk_coverage()
        return {"risk_coverage": {"coverage": listed(curve.coverage[0]), "risk": listed(curve.risk[0])}}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        return []
