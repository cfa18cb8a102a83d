"""An answer in words, the same for readers of FHIR, of DICOM and of cards."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from serve.schema import Response

RESEARCH = "Research software: not a medical device."
_PROBABILITIES = {  # of heads, in words
    "probabilities": "{}",
    "labels": "{}",
    "survival": "without the event after {}",
    "event_free": "no event after {}",
}
_DIGITS = 10  # of a percentage: beyond, they are those of its conversion


@dataclass(frozen=True)
class Finding:
    """One thing that is predicted.

    Attributes:
        outcome: in words; of what is neither a probability nor a group, with its value.
        percent: its probability; None where it has none.
        group: of risk; likewise.
    """

    outcome: str
    percent: float | None = None
    group: str | None = None


def abstains(response: Response) -> bool:
    """Whether the model would rather not say."""
    return bool((response.reliability or {}).get("abstain", False))


def findings(response: Response) -> list[Finding]:
    """Each probability, what else the head predicts in words, and a group of risk as such.

    None where the model abstains: who reads no note must not find a number.
    """
    return [] if abstains(response) else list(_findings(response))


def sentence(response: Response) -> str:
    """The answer in a line."""
    if abstains(response):
        return "The model abstains."
    parts = []
    for one in _findings(response):
        value = f": {one.percent:.1f} %" if one.percent is not None else f": {one.group}" if one.group else ""
        parts.append(one.outcome + value)
    return f"Predicted: {'; '.join(parts)}."


def notes(response: Response) -> Iterator[str]:
    """How far it can be relied on and what it rests on, a line each."""
    reliability = response.reliability or {}
    if abstains(response):
        yield f"The model abstains: {'; '.join(map(str, reliability.get('reasons') or ['not sure enough']))}."
    elif "region" in reliability:
        coverage = reliability.get("coverage")
        yield f"With chance {coverage}, the truth is in {json.dumps(reliability['region'])}."
    for name, score in (reliability.get("out_of_distribution") or {}).items():
        if score is not None:
            yield f"{name}: {score:.2f} out of distribution (above 1: unlike the patients learnt from)."
    parts = [f"{name} ({part.examined} of {part.of} {part.what})" for name, part in response.examined.items()]
    yield f"Rests on {', '.join(parts)}."
    if response.modalities_ignored:
        yield f"Not looked at: {', '.join(response.modalities_ignored)}."
    yield from (f"{line}." for line in response.warnings)
    if response.synthetic:
        yield "The model was trained on synthetic patients alone: no clinical meaning."
    yield RESEARCH


def _findings(response: Response) -> Iterator[Finding]:
    for name, value in response.prediction.items():
        if name == "incidence":
            for cause, chances in value.items():
                yield from _probabilities(f"{cause.replace('_', ' ')} first, within {{}}", chances)
        elif name == "risk_group" and isinstance(value, dict):
            for cause, group in value.items():
                yield Finding(cause.replace("_", " "), group=str(group))
        elif isinstance(value, dict):
            yield from _probabilities(_PROBABILITIES.get(name, name + " {}"), value)
        elif name == "risk_group":
            yield Finding(response.task, group=str(value))
        else:
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            yield Finding(f"{name.replace('_', ' ')}: {shown}")


def _probabilities(words: str, chances: Mapping[str, float]) -> Iterator[Finding]:
    for outcome, chance in chances.items():
        yield Finding(words.format(outcome.replace("_", " ")), percent=round(100 * chance, _DIGITS))
