"""What an answer goes by: what it would be without each part of the request, by the endpoint's own reading of it.

A part is taken away and the model asked again (occlusion: Zeiler and Fergus 2014; squares of images are painted in the
image's mean colour), so that what is told holds for whatever model and modality a bundle has, without a look inside.
How faithful it is stands beside it: how far the number falls when parts of the largest fall are taken away first, and
when random ones are (deletion curve, Samek et al. 2017).
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from finetune.biomarkers.leave_out import curves, falls
from foundation.modalities.request import RequestError, RequestForm
from foundation.statistics.table import Floats
from serve import host
from serve.explained import HEADER, Explanation, Faithfulness, ImageChanges, PartChange
from serve.predictor import Predictor
from serve.reading import parse

_MOST_PARTS = 48  # of a modality, spread evenly where there are more
_MOST_IMAGES = 2  # whose squares are looked at, the most telling ones first
_SIDE = 5  # squares along each side of an image
_AT_ONCE = 4
_SECONDS = 20.0  # of processor time, after which what is left is not looked at: others wait for the same worker
_FEWEST = 4  # parts of which faithfulness can be told
Request = dict[str, Any]
Score = Callable[[Sequence[Request]], Floats]


class _TimeIsUpError(Exception):
    """An explanation has taken what it may."""


def replies(predictor: Predictor, calls: Sequence[host.Call]) -> list[host.Reply]:
    """Replies to a batch of requests, in order: answers, and explanations where they are asked for."""
    asks = [call.header(HEADER) == "True" for call in calls]
    answers = iter(host.answer(predictor, [call for call, ask in zip(calls, asks, strict=True) if not ask]))
    return [_explained(predictor, call) if ask else next(answers) for call, ask in zip(calls, asks, strict=True)]


def explain(predictor: Predictor, body: Any, request_id: str) -> Explanation:
    """What the answer to a request goes by.

    Args:
        predictor: that answers.
        body: of the request.
        request_id: to echo.

    Raises:
        RequestError: as of the answer itself.
    """
    request = parse(body)
    (answer,) = predictor.answer([request], [request_id])
    if isinstance(answer, RequestError):
        raise answer
    words, number = _number_of(answer.prediction)
    asked = {name: request[name] for name in answer.modalities_used}
    score = _scorer(predictor, number)
    value = number(answer.prediction)
    explanation = Explanation(
        request_id=request_id,
        model=answer.model,
        version=answer.version,
        explained=words,
        value=value,
        modalities=[],
        parts={},
        images=[],
        faithfulness={},
        not_looked_at={},
    )
    if len(asked) > 1:
        with contextlib.suppress(_TimeIsUpError):
            explanation.modalities = _changes(score, value, {name: _but(asked, name) for name in asked})
    for name, sent in asked.items():
        form = predictor.schema.modalities[name]
        try:
            _look_into(explanation, form, name, sent, asked, score)
        except _TimeIsUpError:
            explanation.not_looked_at[name] = len(form.places(sent)) - len(explanation.parts.get(name, []))
    return explanation


def example(bundle: Path, request: Request) -> Explanation:
    """What a bundle's answer to an example goes by.

    Raises:
        RequestError: if it is not answered.
    """
    return explain(Predictor.load(bundle), request, "example")


def _look_into(explanation: Explanation, form: RequestForm, name: str, sent: Any, asked: Request, score: Score) -> None:
    """One modality's parts, and the squares of its images."""
    places = form.places(sent)
    if len(places) > 1:
        kept = [places[row] for row in np.linspace(0, len(places) - 1, min(len(places), _MOST_PARTS)).astype(int)]
        explanation.not_looked_at |= {name: len(places) - len(kept)} if len(kept) < len(places) else {}

        def keep(shown: list[list[int]]) -> Floats:
            away = [{kept[part] for part in range(len(kept)) if part not in some} for some in shown]
            return score([asked | {name: form.without(sent, one)} for one in away])

        fall = falls(keep, len(kept))
        known = np.isfinite(fall)
        explanation.parts[name] = [
            PartChange(field=f"{name}{place}", change=float(change))
            for place, change, there in zip(kept, fall, known, strict=True)
            if there
        ]
        if len(kept) >= _FEWEST and known.all():
            ordered, random = curves(keep, fall, seed=0)
            if np.isfinite(ordered).all() and np.isfinite(random).all():
                told = Faithfulness(ordered=float(ordered.mean()), random=float(random.mean()))
                explanation.faithfulness[name] = told
    sizes = {part.field: abs(part.change) for part in explanation.parts.get(name, [])}
    for place in sorted(places, key=lambda place: -sizes.get(f"{name}{place}", 0.0))[:_MOST_IMAGES]:
        covered = form.covered(sent, place, _SIDE)
        scores = score([asked | {name: one} for one in covered])
        if len(scores) and np.isfinite(scores).all():
            rows = (scores[0] - scores[1:]).reshape(_SIDE, _SIDE).tolist()
            explanation.images.append(ImageChanges(field=f"{name}{place}", changes=rows))


def _explained(predictor: Predictor, call: host.Call) -> host.Reply:
    if call.kind != host.JSON:
        advice = f"send one JSON object a patient, as Content-Type: {host.JSON}"
        refusal = RequestError("Content-Type", f"found {call.kind[:80]!r}", advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return host.to_reply(refusal, call.request_id)
    result = predictor.guarded(explain, call.body, call.request_id)
    if isinstance(result, RequestError):
        return host.to_reply(result, call.request_id)
    body = json.dumps(result.model_dump(), allow_nan=False).encode()
    return host.Reply(HTTPStatus.OK, body, {"content-type": host.JSON, host.REQUEST_ID: call.request_id})


def _number_of(prediction: Mapping[str, Any]) -> tuple[str, Callable[[Mapping[str, Any]], float]]:
    """The number of a prediction that is explained, in words, and where it is in any other."""
    if "probabilities" in prediction:
        name = prediction["class"]
        return f"probability of {name}", lambda other: float(other["probabilities"][name])
    if "labels" in prediction:
        name = max(prediction["labels"], key=lambda label: abs(prediction["labels"][label] - 0.5))
        return f"probability of {name}", lambda other: float(other["labels"][name])
    if "incidence" in prediction:
        cause, chances = next(iter(prediction["incidence"].items()))
        horizon = list(chances)[-1]
        return f"incidence of {cause} in {horizon.replace('_', ' ')}", lambda it: float(it["incidence"][cause][horizon])
    key = next(key for key, value in prediction.items() if isinstance(value, int | float))
    return key.replace("_", " "), lambda other: float(other[key])


def _scorer(predictor: Predictor, number: Callable[[Mapping[str, Any]], float]) -> Score:
    """The number for each of some requests; NaN where nothing is left that can be read."""
    begun = time.process_time()

    def score(requests: Sequence[Request]) -> Floats:
        values: list[float] = []
        for start in range(0, len(requests), _AT_ONCE):
            if time.process_time() - begun > _SECONDS:
                raise _TimeIsUpError
            for answer in predictor.answer(requests[start : start + _AT_ONCE]):
                values.append(float("nan") if isinstance(answer, RequestError) else number(answer.prediction))
        return np.array(values)

    return score


def _changes(score: Score, value: float, without: Mapping[str, Request]) -> list[PartChange]:
    left = value - score(list(without.values()))
    return [PartChange(field=name, change=float(one)) for name, one in zip(without, left, strict=True) if one == one]


def _but(asked: Request, name: str) -> Request:
    return {key: value for key, value in asked.items() if key != name}
