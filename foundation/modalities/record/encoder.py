"""Record: typed columns of structured clinical data, any of them missing."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foundation.data.dictionary import DataDictionary
from foundation.errors import UserError
from foundation.masks import on_host, to_device
from foundation.modalities.base import Inputs, Modality, Tokens
from foundation.modalities.record.request import Column, ColumnsForm
from foundation.modalities.record.storage import Row, hide_columns

_FARTHEST = 10.0  # scales from the centre: a slip of the unit must not outweigh a batch


class Record(Modality):
    """A token a column.

    Args:
        width: of the tokens.
        columns: the data dictionary's columns: `name`, `kind` (continuous or categorical), `center` and `scale` of the
            continuous, `values` of the categorical.
        pooling: of the tokens to the embedding, `gated` or `transformer`.
    """

    name = "record"
    parts = "columns"

    def __init__(self, width: int, columns: list[dict[str, Any]], pooling: str = "gated") -> None:
        super().__init__(width, pooling)
        self.columns = [dict(column) for column in columns]
        self.column = nn.Parameter(torch.randn(len(columns), width) * width**-0.5)
        self.slope = nn.Parameter(torch.randn(len(columns), width) * width**-0.5)
        levels = sum(len(column.get("values") or []) for column in self.columns)
        self.level = nn.Embedding(levels + 1, width, padding_idx=0)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        return {"columns": [column.model_dump() for column in dictionary.record]}

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"columns": self.columns}

    def check_cohort(self, dictionary: DataDictionary, cohort: str) -> None:
        known, declared = [c["name"] for c in self.columns], [c.name for c in dictionary.record]
        if known != declared:
            raise UserError(
                f"encoder: its record columns are {', '.join(known)}, cohort {cohort} has {', '.join(declared)}; "
                "prepare the cohort with the dictionary that the encoder was pretrained on"
            )

    def request_form(self, dictionary: DataDictionary) -> ColumnsForm:
        return ColumnsForm(columns=[Column.model_validate(column) for column in self.columns])

    def hide(self, raw: Row, hidden: dict[str, list[str]]) -> Row | None:
        return hide_columns(raw, hidden)

    def transform(self, raw: Row, generator: torch.Generator | None) -> Inputs:
        """Per column: `number` (standardised, 0 elsewhere), `level` (0 = none), `mask` (known)."""
        count = len(self.columns)
        number, level = torch.zeros(count), torch.zeros(count, dtype=torch.long)
        mask = torch.zeros(count, dtype=torch.bool)
        offset = 1
        for index, column in enumerate(self.columns):
            value = raw.get(column["name"])
            known = value is not None and value == value  # NaN is unknown, too
            if column["kind"] == "continuous":
                if known and value is not None:
                    number[index] = min(max((float(value) - column["center"]) / column["scale"], -_FARTHEST), _FARTHEST)
                    mask[index] = True
                continue
            values = column["values"]
            if known and value in values:
                level[index] = offset + values.index(value)
                mask[index] = True
            offset += len(values)
        return {"number": number, "level": level, "mask": mask}

    def blank(self) -> Row:
        return {}

    def feature_sizes(self) -> dict[str, int]:
        return {self.name: sum(map(self._places, self.columns))}

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present size"]]:
        """Each number, and a 0 or 1 for each value of a category."""
        parts, first = [], 1
        for index, column in enumerate(self.columns):
            count = self._places(column)
            if column["kind"] == "continuous":
                values = inputs["number"][:, index, None]
            else:
                values = (
                    inputs["level"][:, index, None] == torch.arange(first, first + count).to(inputs["level"])
                ).float()
                first += count
            parts.append(values.masked_fill(~inputs["mask"][:, index, None], float("nan")))
        return {self.name: torch.cat(parts, dim=1)}

    def _places(self, column: dict[str, Any]) -> int:
        return 1 if column["kind"] == "continuous" else len(column["values"])

    def forward(self, inputs: Inputs) -> Tokens:
        values = self.column + inputs["number"][..., None] * self.slope + self.level(inputs["level"])
        mask = on_host(inputs["mask"]).clone()
        # A record with no known column still needs one token to attend to: its first column's name, without a value.
        mask[:, 0] |= ~mask.any(dim=1)
        return Tokens(values + self.feed(values), to_device(mask, values.device))
