"""Counts of what an endpoint was asked and answered: sums alone, so nothing of a patient is kept."""

import bisect
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict

SCORE_EDGES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)  # of out-of-distribution scores, whose limit is 1
PART_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)  # of how many parts of an input were looked at


class Usage(BaseModel):
    """Counts, which add up over requests, days and servers.

    Attributes:
        answered: requests.
        abstained: of these, where the model abstains.
        refused: by status of HTTP.
        modalities: answers by modality that they rest on.
        subsets: answers by all of theirs, joined by `+`.
        scores: by modality, out-of-distribution scores up to each of `SCORE_EDGES`, and above.
        parts: by modality, parts looked at, up to each of `PART_EDGES`, and above.
    """

    model_config = ConfigDict(extra="forbid")

    answered: int = 0
    abstained: int = 0
    refused: dict[str, int] = {}
    modalities: dict[str, int] = {}
    subsets: dict[str, int] = {}
    scores: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}

    def add(self, status: int, content: Mapping[str, Any] | None) -> None:
        """Counts an answer, or a refusal.

        Args:
            status: of HTTP.
            content: of the answer, `reliability`, `modalities_used` and `examined` of it; None of a refusal, and of
                what is no answer, such as an explanation, which counts as neither.
        """
        if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):  # accepted: answered in the shadow, to nobody
            self.refused[str(status)] = self.refused.get(str(status), 0) + 1
        if content is None:
            return
        reliability = content["reliability"] or {}
        self.answered += 1
        self.abstained += bool(reliability.get("abstain", False))
        used = content["modalities_used"]
        self.modalities = dict(Counter(self.modalities) + Counter(used))
        self.subsets = dict(Counter(self.subsets) + Counter(["+".join(sorted(used))]))
        for name, score in reliability.get("out_of_distribution", {}).items():
            if score is not None:
                _count(self.scores, name, SCORE_EDGES, score)
        for name, part in content["examined"].items():
            _count(self.parts, name, PART_EDGES, part["examined"])

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            answered=self.answered + other.answered,
            abstained=self.abstained + other.abstained,
            refused=dict(Counter(self.refused) + Counter(other.refused)),
            modalities=dict(Counter(self.modalities) + Counter(other.modalities)),
            subsets=dict(Counter(self.subsets) + Counter(other.subsets)),
            scores=_sum(self.scores, other.scores),
            parts=_sum(self.parts, other.parts),
        )


def _count(counts: dict[str, list[int]], name: str, edges: tuple[float, ...], value: float) -> None:
    row = counts.setdefault(name, [0] * (len(edges) + 1))
    row[bisect.bisect_left(edges, value)] += 1


def _sum(one: Mapping[str, list[int]], other: Mapping[str, list[int]]) -> dict[str, list[int]]:
    both = {name: [a + b for a, b in zip(one[name], other[name], strict=True)] for name in one.keys() & other.keys()}
    return {**one, **other, **both}
