"""Whether a bundle answers as the fine-tuned model did: eager, exported and served, for every subset of modalities."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from finetune.predictor import Answer, TaskModel
from finetune.reliability.module import Reading
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from serve.bundle import largest_difference
from serve.client import to_request
from serve.predictor import Predictor
from serve.program import archive
from serve.program.core import rows

_TOLERANCE = 1e-4
_TOGETHER = 8  # patients of a batch, beside each alone
Sample = Mapping[str, Any]
Answers = Callable[[Sequence[Sample]], list[Answer]]


def check(run: Path, bundle: Path, cohort: Cohort, patient: str) -> tuple[float, dict[str, Any]]:
    """Asks the fine-tuned model, the bundle's server and its program about every subset of what a patient has.

    Each subset is asked about alone, and beside others in batches of eight.

    Returns:
        The largest difference of any number predicted, and the request with everything.

    Raises:
        UserError: if it exceeds 1e-4, or something else is said of how far the prediction can be relied on.
    """
    sample, eager, predictor = cohort.sample(patient), TaskModel.load(run), Predictor.load(bundle)
    request = to_request(sample, predictor.schema)
    others: dict[Path, Answers] = {bundle: _served(predictor, request)}
    if (bundle / archive.FILE).is_file():
        others[bundle / archive.FILE] = _exported(bundle, predictor)
    names = [name for name in request if name in eager.usable({key: sample[key] for key in request})]
    subsets = [some for count in range(1, len(names) + 1) for some in combinations(names, count)]
    batches = [[some] for some in subsets]
    batches += [subsets[start : start + _TOGETHER] for start in range(0, len(subsets), _TOGETHER)]
    worst = 0.0
    for batch in batches:
        samples = [eager.usable({name: sample[name] for name in some}) for some in batch]
        expected = eager.answer(eager.encoder.encode_samples(samples))
        for path, answers in others.items():
            for some, one, other in zip(batch, answers(samples), expected, strict=True):
                about = f"{patient} ({', '.join(some)}; {len(batch)} at once)"
                worst = max(worst, _difference(one, other, path, run, about))
    return worst, request


def _difference(one: Answer, other: Answer, path: Path, run: Path, about: str) -> float:
    difference = largest_difference(one.prediction, other.prediction)
    if not difference <= _TOLERANCE:  # no number is no agreement, either
        raise UserError(f"{path}: differs from {run} by {difference:.2g} for {about}; were files of it exchanged?")
    if not _same_reliability(one.reliability, other.reliability):
        raise UserError(
            f"{path}: says otherwise than {run} how far the prediction of {about} can be relied on; were files of it "
            "exchanged?"
        )
    return difference


def _served(predictor: Predictor, request: Mapping[str, Any]) -> Answers:
    """Answers to requests as JSON text."""

    def answers(samples: Sequence[Sample]) -> list[Answer]:
        bodies = [json.dumps({name: request[name] for name in sample}) for sample in samples]
        found = []
        for answer in predictor.answer(bodies):
            if isinstance(answer, UserError):
                raise answer
            found.append(Answer(answer.prediction, answer.reliability))
        return found

    return answers


def _exported(bundle: Path, predictor: Predictor) -> Answers:
    """Answers from the scores and features that a bundle's program makes."""
    model, run = predictor.model, archive.load(bundle)
    task = model.task["modalities"]
    names = [name for name in task if name in predictor.schema.modalities]

    def answers(samples: Sequence[Sample]) -> list[Answer]:
        scores, features = run(*rows(model, names, [model.encoder.transform(sample) for sample in samples]))
        predictions = model.head.predict(scores)
        if model.reliability is None:
            return [Answer(prediction, None) for prediction in predictions]
        present = torch.tensor([[name in sample for name in task] for sample in samples])
        judged = model.reliability.judge(Reading(scores, present, features), model.head.regions())
        return [Answer(*pair) for pair in zip(predictions, judged, strict=True)]

    return answers


def _same_reliability(one: Any, other: Any) -> bool:
    """Whether two answers hold the same set or interval, scores and abstention; its reasons put these in words."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            name == "reasons" or _same_reliability(value, other[name]) for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_reliability, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
