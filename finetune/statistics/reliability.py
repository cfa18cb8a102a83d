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
        patients, known, _, sized, _, _, answered = table.counts[0].tolist()
        judged = int(table.by_confidence[0, :, 0].sum())
        return {
            "coverage": Measure(
                table.coverage(), f"share of truths inside their region, {self.coverage:g} stated", known
            ),
            "region_size": Measure(
                table.mean_size(), "mean number of classes in the set, or width of the interval", sized
            ),
            "out_of_distribution": Measure(
                table.flagged(), "share of patients with a modality out of distribution", patients
            ),
            "abstained": Measure(table.abstained(), "share of patients on whom it abstains", patients),
            "risk_answered": Measure(
                table.risk_answered(), "share of wrong answers, or mean absolute error, where not abstained", answered
            ),
            "risk": Measure(table.risk(), "the same had it abstained on nobody", judged),
            "area_under_risk_coverage": Measure(
                table.area_under_risk_coverage(), "area under the risk-coverage curve", judged
            ),
        }

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        curve = tables["answers"].risk_coverage()
        return {"risk_coverage": {"coverage": listed(curve.coverage[0]), "risk": listed(curve.risk[0])}}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        return []
