"""What a release is held to once it answers: bounds from its own evaluation, declared before any outcome is seen."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import betaincinv

from foundation.errors import UserError
from foundation.statistics.figure import percentiles
from foundation.statistics.weights import poisson_weights
from serve import manifest
from serve.card.predictions import read_predictions
from serve.feedback.store import Answer
from serve.monitoring import reference
from serve.monitoring.usage import SCORE_EDGES
from serve.release.rules import Rules
from serve.schema import BundleSchema

PREDICTIONS = "predictions.parquet"
_SURE = 0.975  # of the upper end of what the evaluation tells
_REPLICATES, _KEY = 1000, "feedback"
_LIMIT = SCORE_EDGES.index(1.0) + 1  # of the bins of scores, the first above 1
Bound = Annotated[float, Field(gt=0, le=1)]
Chance = Annotated[float, Field(ge=0, le=1)]


class _Prediction(BaseModel):
    probabilities: dict[str, Chance] | None = None
    labels: dict[str, Chance] | None = None


class _Reliability(BaseModel):
    abstain: bool = False
    out_of_distribution: dict[str, float | None] | None = None


class _Content(BaseModel):
    """What of an answer is kept."""

    prediction: _Prediction
    reliability: _Reliability | None
    modalities_used: list[str]


class Declared(BaseModel):
    """Bounds of a release.

    Attributes:
        name: of the model.
        version: of the release.
        outputs: whose chances are kept.
        classes: of a classification, in order; empty where each output is a label by itself.
        brier: by output, of the mean squared error of the chance.
        calibration: of the mean of chance less outcome, either way.
        abstained: of the share on whom it abstains; None where the bundle has no reference.
        flagged: by modality, of the share that is out of distribution.
        level: chance at most that any alarm at all is ever raised where all bounds hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    outputs: list[str]
    classes: list[str]
    brier: dict[str, Bound]
    calibration: Bound
    abstained: Bound | None
    flagged: dict[str, Bound]
    level: Annotated[float, Field(gt=0, lt=1)]

    def tests(self) -> dict[str, float]:
        """By name, the bound that the mean of a quantity from 0 to 1 is held to."""
        bounds: dict[str, float] = {}
        for output in self.outputs:
            bounds[f"squared error/{output}"] = self.brier[output]
            for side in ("outcomes above chances", "outcomes below chances"):
                bounds[f"{side}/{output}"] = (1 + self.calibration) / 2  # of (1 + difference) / 2
        if self.abstained is not None:
            bounds["abstained"] = self.abstained
        return bounds | {f"out of distribution/{name}": bound for name, bound in self.flagged.items()}

    def accuracy(self, output: str) -> float:
        """Least mean of 1 - squared error by the bound; 1, on which nothing can be won, where the bound is 1."""
        return 1 - self.brier[output] if self.brier[output] < 1 else 1.0

    @property
    def level_of_each(self) -> float:
        """Of one test, so that all together hold theirs (Bonferroni)."""
        return self.level / len(self.tests())

    def answer(self, patient: str, content: dict[str, Any]) -> Answer:
        """An answer of the endpoint.

        Raises:
            UserError: if it is of another model than was declared, or a field is missing or none.
        """
        try:
            read = _Content.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"answers: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        chances = read.prediction.probabilities if self.classes else read.prediction.labels
        if chances is None or not set(self.outputs) <= set(chances):
            raise UserError(f"answers: one of {self.version} lacks {', '.join(self.outputs)}; declare it again")
        reliability = read.reliability or _Reliability()
        scores = reliability.out_of_distribution or {}
        limits = {name: scores.get(name) for name in read.modalities_used}
        flags = {name: None if score is None else score > 1 for name, score in limits.items()}
        return Answer(patient, self.version, {name: chances[name] for name in self.outputs}, flags, reliability.abstain)

    def outcomes(self, values: dict[str, str]) -> dict[str, int]:
        """By output 0 or 1, of a row of an outcome table: by label, or the class by name or place from 0.

        Where classes are called by numbers, as grades are, a number is a name.

        Raises:
            UserError: if a value is none that the release knows.
        """
        if not self.classes:
            return {name: _yes_or_no(name, values[name]) for name in self.outputs if values.get(name, "")}
        ((column, value),) = values.items()
        if not value:
            return {}
        numbered = any(name.isdecimal() for name in self.classes)
        places = {} if numbered else {f"{place}": name for place, name in enumerate(self.classes)}
        short = value.removesuffix(".0")
        chosen = value if value in self.classes else places.get(short, short)
        if chosen not in self.classes:
            raise UserError(f"{column}: a value is none of {', '.join(self.classes)}, nor their place from 0")
        return {name: int(name == chosen) for name in self.outputs}


def declare(bundle: Path, evaluation: Path, margins: Rules, level: float) -> Declared:
    """Bounds of a release: what its evaluation leaves possible, and the margins of releases beyond that.

    Args:
        bundle: of it; its reference tells abstentions and scores of patients held back.
        evaluation: folder of its `predictions.parquet`.
        margins: of the Brier score, calibration and abstention.
        level: see `Declared`.

    Raises:
        UserError: if it answers no chances, or was evaluated on nobody.
    """
    manifest.verify(bundle)
    schema = BundleSchema.load(bundle)
    outputs, classes = _outputs(schema)
    table = read_predictions(evaluation / PREDICTIONS)
    table = table[(table["subset"] == "all") & table["label"].notna() & table["probability"].notna()]
    brier = {}
    for output in outputs:
        rows = table[table["output"] == output]
        if not len(rows):
            raise UserError(f"{evaluation / PREDICTIONS}: tells no chance of '{output}'; evaluate the exported run")
        brier[output] = min(1.0, _upper(rows) + margins.brier)
    usage = reference.load(bundle)
    flagged = {} if usage is None else {name: (sum(row[_LIMIT:]), sum(row)) for name, row in usage.scores.items()}
    return Declared(
        name=schema.name,
        version=schema.version,
        outputs=outputs,
        classes=classes,
        brier=brier,
        calibration=margins.calibration,
        abstained=None if usage is None else _share(usage.abstained, usage.answered, margins.abstention),
        flagged={name: _share(*counts, margins.abstention) for name, counts in flagged.items() if counts[1]},
        level=level,
    )


def _outputs(schema: BundleSchema) -> tuple[list[str], list[str]]:
    """Names of the chances to keep, and the classes; of two classes, the chance of the second tells both."""
    parts = schema.prediction.get("properties", {})
    if "labels" in parts:
        return list(parts["labels"]["properties"]), []
    if "probabilities" not in parts:
        raise UserError(f"{schema.name}: answers no chances of classes or labels, and feedback reads no others yet")
    classes = list(parts["probabilities"]["properties"])
    return (classes[1:] if len(classes) == 2 else classes), classes


def _upper(rows: Any) -> float:
    weights = poisson_weights(rows["patient"].tolist(), _REPLICATES, _KEY)
    errors = (rows["probability"].to_numpy(float) - rows["label"].to_numpy(float)) ** 2
    means = (weights @ errors) / np.maximum(weights.sum(axis=1), 1)
    return percentiles(np.asarray(means[1:]))[1]


def _share(count: int, of: int, margin: float) -> float:
    """Upper end of a share (Clopper & Pearson 1934), and the margin."""
    upper = 1.0 if count >= of else float(betaincinv(count + 1, of - count, _SURE))
    return min(1.0, upper + margin)


def _yes_or_no(name: str, value: str) -> int:
    if value.removesuffix(".0") not in ("0", "1"):
        raise UserError(f"{name}: a value is neither 0 nor 1; mend the table of outcomes")
    return int(value[0])
