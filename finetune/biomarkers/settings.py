"""What a page of biomarkers is made with."""

from dataclasses import dataclass, field
from pathlib import Path

from finetune.biomarkers.markers import Markers


@dataclass(frozen=True)
class Settings:
    """Checked settings of `finetune.biomarkers.evidence.Attribution`, which describes them."""

    markers: Markers | None = None
    pathways: dict[str, list[str]] | None = None
    fewest: int = 5
    permutations: int = 9999
    level: float = 0.05
    smallest: int = 5
    top: int = 25
    resamples: int = 200
    others: list[str] = field(default_factory=list)
    output: str | None = None
    patients: int = 40
    slide: Path | None = None
