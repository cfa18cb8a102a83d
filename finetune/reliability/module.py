"""What says of an answer how far it can be relied on: buffers alone, saved beside the head."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from finetune.heads.regions import Regions
from finetune.reliability.novelty import COMPONENTS, Novelty

Blocks = Sequence[Sequence[str | int]]  # modality, block and size of each, in the order of the features


@dataclass(frozen=True)
class Reading:
    """Patients as a model reads them.

    Attributes:
        scores: of the head, `[batch, outputs]`.
        present: which modalities the scores rest on, `[batch, modalities]`.
        features: plain features of all modalities, `[batch, features]`, NaN where there are none.
    """

    scores: Float[Tensor, "batch outputs"]
    present: Bool[Tensor, "batch modalities"]
    features: Float[Tensor, "batch features"]

    @classmethod
    def joined(cls, parts: Sequence["Reading"]) -> "Reading":
        """Several batches as one."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        return cls(*(torch.cat(column) for column in columns))


class Reliability(nn.Module):
    """Regions, out-of-distribution scores and abstention of a task model.

    Args:
        modalities: that the task looks at, in order.
        blocks: of plain features.
        alternatives: of a patient (`finetune.heads.regions`); 0 where the head has no regions.
        coverage: chance with which a region holds the truth.
        flagged: at most this share of patients like those learnt from is out of distribution by one modality or
            another.

    Attributes:
        thresholds: nonconformities by subset of modalities (a bit each), `[subsets, alternatives]`.
        limits: of novelty, by modality; 0 where too few patients tell, and it has none.
    """

    thresholds: Tensor
    limits: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        blocks: Blocks,
        alternatives: int,
        coverage: float = 0.9,
        flagged: float = 0.02,
        components: int = COMPONENTS,
    ) -> None:
        super().__init__()
        self.modalities = list(modalities)
        self.blocks = [(str(modality), str(block), int(size)) for modality, block, size in blocks]
        self.coverage = coverage
        self.flagged = flagged
        self.components = components
        self.register_buffer("thresholds", torch.full((2 ** len(self.modalities), alternatives), torch.inf))
        self.register_buffer("limits", torch.zeros(len(self.modalities)))
        self.novelty = nn.ModuleList(Novelty(size, components) for _, _, size in self.blocks)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {
            "modalities": self.modalities,
            "blocks": [list(block) for block in self.blocks],
            "alternatives": self.thresholds.shape[1],
            "coverage": self.coverage,
            "flagged": self.flagged,
            "components": self.components,
        }

    @torch.no_grad()
    def judge(self, reading: Reading, regions: Regions | None) -> list[dict[str, Any]]:
        """Region, scores and abstention of each patient, as answers give them."""
        thresholds = self.thresholds_of(reading.present)
        sets = None if regions is None else regions.of(reading.scores, thresholds)
        unknown = thresholds.isinf().any(dim=1).tolist()  # what no threshold bounds is open whatever the scores are
        novelty = self.novelty_of(reading.features, reading.present).tolist()
        judged = []
        for place, row in enumerate(novelty):
            region = None if sets is None else sets[place]
            scores = {
                name: None if score != score else score  # NaN
                for name, score, there in zip(self.modalities, row, reading.present[place].tolist(), strict=True)
                if there
            }
            open_words = None if regions is None or region is None else regions.undecided(region)
            reasons = [_unlike(name, score) for name, score in scores.items() if score is not None and score > 1]
            if open_words is not None:
                reasons.append(self._too_few() if unknown[place] else f"at {self.coverage:.0%} coverage {open_words}")
            judged.append(
                {
                    "coverage": self.coverage,
                    "region": region,
                    "out_of_distribution": scores,
                    "abstain": bool(reasons),
                    "reasons": reasons,
                }
            )
        return judged

    def _too_few(self) -> str:
        least = math.ceil(self.coverage / (1 - self.coverage) - 1e-9)  # ceil((n + 1) coverage) is no more than n
        return (
            f"at {self.coverage:.0%} coverage too few patients tell: fewer than {least} with these modalities whom the "
            "fit had not seen"
        )

    def thresholds_of(self, present: Bool[Tensor, "batch modalities"]) -> Float[Tensor, "batch alternatives"]:
        """By the subset of modalities that each patient has."""
        codes = (present.long() << torch.arange(len(self.modalities), device=present.device)).sum(dim=1)
        return self.thresholds[codes]

    def novelty_of(
        self, features: Float[Tensor, "batch features"], present: Bool[Tensor, "batch modalities"]
    ) -> Float[Tensor, "batch modalities"]:
        """Scores relative to the limit, above 1 where out of distribution; NaN for a modality that is not read."""
        scores = self.raw_novelty(features) / self.limits
        return scores.masked_fill(~present | (self.limits == 0), torch.nan)

    def raw_novelty(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch modalities"]:
        """The largest of a modality's blocks' scores; NaN where it has none."""
        columns = {name: [features.new_full((len(features),), -torch.inf)] for name in self.modalities}
        for (name, _, _), place, module in zip(self.blocks, self.places(), self.novelty, strict=True):
            values = features[:, place]
            if not values.isnan().all():  # a third of an answer's time goes into blocks, most of which nobody has
                columns[name].append(module(values).nan_to_num(nan=-torch.inf))
        largest = torch.stack([torch.stack(parts).max(dim=0).values for parts in columns.values()], dim=1)
        return largest.masked_fill(largest == -torch.inf, torch.nan)

    def places(self) -> list[slice]:
        """Where each block's features are."""
        ends = list(itertools.accumulate(size for _, _, size in self.blocks))
        return [slice(end - size, end) for end, (_, _, size) in zip(ends, self.blocks, strict=True)]

    def schema(self, regions: Regions | None) -> dict[str, Any]:
        """JSON Schema of what `judge` says of a patient."""
        region: dict[str, Any] = {"type": "null"} if regions is None else _object(regions.schema())
        score = {"type": ["number", "null"], "minimum": 0}
        return _object(
            {
                "coverage": {"const": self.coverage},
                "region": region,
                "out_of_distribution": _object(dict.fromkeys(self.modalities, score), required=[]),
                "abstain": {"type": "boolean"},
                "reasons": {"type": "array", "items": {"type": "string"}},
            }
        )


def blocks_of(sizes: Mapping[str, Mapping[str, int]]) -> list[list[str | int]]:
    """Blocks, by modality and name their sizes, in the order of the features."""
    return [[modality, block, size] for modality, blocks in sizes.items() for block, size in blocks.items()]


def _unlike(modality: str, score: float) -> str:
    return f"{modality} is unlike that of the patients learnt from (score {score:.2g}, limit 1)"


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }
