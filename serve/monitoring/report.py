"""The drift report, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from serve.monitoring.drift import Drift
from serve.monitoring.usage import Usage

_STATISTICS = {"scores": "out-of-distribution scores", "parts": "how much was sent", "share": "how often it is sent"}


def render(reference: Usage, usage: Usage, compared: Sequence[Drift], days: Sequence[str]) -> str:
    """What is asked beside the bundle's own patients.

    Args:
        reference: counts of the bundle.
        usage: counts of the endpoint.
        compared: of the two.
        days: that are counted.
    """
    drifted = [one for one in compared if one.drifted]
    names = ", ".join(f"{one.modality} ({_STATISTICS[one.statistic]})" for one in drifted)
    refused = sum(usage.refused.values())
    abstained = [_share(one.abstained, one.answered) for one in (usage, reference)]
    lines = [
        "# Drift of an endpoint",
        "",
        f"Days: {days[0]} to {days[-1]}." if days else "Nobody asked yet.",
        "",
        f"**Drift: {names}.**" if drifted else "No drift beyond chance.",
        "",
        "| | in use | the bundle's patients |",
        "| --- | --- | --- |",
        f"| answered | {usage.answered} | {reference.answered} |",
        f"| abstained | {' | '.join(abstained)} |",
        f"| refused | {_share(refused, refused + usage.answered)}{_by_status(usage.refused)} | |",
        *(_modality(name, reference, usage) for name in sorted(reference.modalities.keys() | usage.modalities.keys())),
        "",
        "| modality | what | population stability index | limit | |",
        "| --- | --- | --- | --- | --- |",
        *_rows(compared),
        "",
        "The limit is what chance reaches once in a thousand comparisons of so many patients, and at least 0.1.",
    ]
    return "\n".join(lines) + "\n"


def _modality(name: str, reference: Usage, usage: Usage) -> str:
    columns = (_share(one.modalities.get(name, 0), one.answered) for one in (usage, reference))
    return f"| with {name} | {' | '.join(columns)} |"


def _rows(compared: Iterable[Drift]) -> list[str]:
    ordered = sorted(compared, key=lambda one: (one.modality, one.statistic))
    return [
        f"| {one.modality} | {_STATISTICS[one.statistic]} | {one.index:.3f} | {one.limit:.3f} | "
        f"{'drift' if one.drifted else ''} |"
        for one in ordered
    ]


def _by_status(refused: Mapping[str, int]) -> str:
    text = ", ".join(f"{status}: {count}" for status, count in sorted(refused.items()))
    return f" ({text})" if text else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
