"""`results.json` and `predictions.parquet`: every figure with what it rests on, every prediction with its patient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from finetune.figures import Figures
from finetune.statistics.base import Column, Targets, TaskStatistics
from foundation.files import replacing
from foundation.statistics.comparison import Difference, holm

FORMAT = 1
MODEL, BASELINE = "model", "age and sex"


@dataclass(frozen=True)
class Source:
    """Where all figures of an evaluation come from.

    Attributes:
        task: its name.
        run: folder of the task model.
        cohort: name of the prepared cohort.
        digest: of the cohort.
        split: whose patients are judged.
        seed: of the bootstraps.
    """

    task: str
    run: str
    cohort: str
    digest: str
    split: str
    seed: int

    def facts(self) -> dict[str, Any]:
        """What stands beside each figure."""
        return {"source": f"{self.run} on {self.cohort} {self.digest[:12]}", "split": self.split, "seed": self.seed}


def figure_rows(
    source: Source, shown: Figures, model: str = MODEL, subset: str = "all", group: str = "all", level: str = "all"
) -> Iterator[dict[str, Any]]:
    """A row a measure: identifier, estimator, counts, value, both intervals, seed, source and split."""
    for name in shown.measures:
        figure, new = shown.figure(name), shown.new_hospital(name)
        yield {
            "id": "/".join([source.task, model, subset, group, level, name]),
            "metric": name,
            "estimator": figure.estimator,
            "model": model,
            "subset": subset,
            "group": group,
            "level": level,
            "n": figure.n,
            "outcomes": dict(figure.outcomes),
            "hospitals": shown.hospitals,
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "interval": figure.interval,
            "replicates": figure.replicates,
            "reason": figure.reason,
            "new_hospital": {
                "low": new.low,
                "high": new.high,
                "interval": new.interval,
                "replicates": new.replicates,
                "reason": new.reason,
            },
            **source.facts(),
        }


def comparison_rows(source: Source, tests: Mapping[str, Difference], n: int) -> list[dict[str, Any]]:
    """A row a measure: the model less the baseline, on the same patients; p also corrected for their number (Holm)."""
    corrected = holm({name: test.p for name, test in tests.items() if test.p is not None})
    return [
        {
            "id": "/".join([source.task, f"{MODEL} less {BASELINE}", name]),
            "metric": name.removesuffix(" (DeLong)"),
            "first": MODEL,
            "second": BASELINE,
            "test": test.test,
            "n": n,
            "value": test.value,
            "low": test.low,
            "high": test.high,
            "p": test.p,
            "p_holm": corrected.get(name),
            "corrected": f"Holm over {len(corrected)} comparisons",
            **source.facts(),
        }
        for name, test in tests.items()
    ]


def prediction_rows(
    statistics: TaskStatistics,
    targets: Targets,
    estimates: Column,
    patients: Sequence[str],
    hospitals: Sequence[str],
    split: str,
    subset: str,
) -> pd.DataFrame:
    """A row a patient and output: who, where, `split`, `subset`, `output`, `label`, `prediction`, `probability`."""
    rows = pd.DataFrame(statistics.predictions(targets, estimates))
    times = len(rows) // max(1, len(patients))
    names = pd.DataFrame({"patient": list(patients), "hospital": list(hospitals), "split": split, "subset": subset})
    return pd.concat([names.loc[names.index.repeat(times)].reset_index(drop=True), rows], axis=1)


def with_abstentions(parts: Sequence[pd.DataFrame], abstained: Mapping[str, float]) -> list[pd.DataFrame]:
    """With `abstained` of test patients read from all that they have: 1 or 0, NaN of whom nothing is known.

    Args:
        parts: of the predictions.
        abstained: by patient.
    """
    known = [bool(((part["split"] == "test") & (part["subset"] == "all")).all()) for part in parts]
    return [
        part.assign(abstained=part["patient"].map(abstained)) if whole else part
        for part, whole in zip(parts, known, strict=True)
    ]


def write_predictions(parts: Sequence[pd.DataFrame], path: Path) -> None:
    """All of them, one Parquet file; without a column `abstained` where the model cannot abstain."""
    table = pd.concat(list(parts), ignore_index=True)
    for name in ("label", "prediction", "probability", *({"abstained"} & set(table))):
        table[name] = table[name].astype("float64")
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
