"""Genomics in a request: by channel, values by gene symbol."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.problems import DataError
from foundation.data.units import check_unit, convert
from foundation.errors import UserError
from foundation.modalities.genomics.storage import CHANNELS, Channels
from foundation.modalities.request import RequestForm, read_number, read_object, shown, some_of


class GenesForm(RequestForm):
    """Expression, mutations and copy number by gene symbol.

    Attributes:
        kind: see `RequestForm`.
        genes: symbols that the encoder knows, in its order.
        unit: of expression that the encoder takes; a request declares its own, which must be this or convert exactly.
    """

    kind: Literal["genes"] = "genes"
    genes: list[str]
    unit: str

    def read(self, value: Any, field: str, warnings: list[str]) -> Channels:
        """By channel, float32 `[genes]`, NaN where the request says nothing."""
        content = read_object(value, field, ("unit", *CHANNELS))
        measured = {name: read_object(content[name], f"{field}.{name}") for name in CHANNELS if name in content}
        if not any(measured.values()):
            raise UserError(f"{field}: no measurements; give at least one of {', '.join(CHANNELS)} by gene symbol")
        unit = content.get("unit")
        if measured.get("expression") and not isinstance(unit, str):
            raise UserError(
                f"{field}.unit: found {shown(unit)}; say the unit of expression, {self.unit!r} if it is that"
            )
        position = {gene: index for index, gene in enumerate(self.genes)}
        raw = {channel: np.full(len(self.genes), np.nan, dtype=np.float32) for channel in CHANNELS}
        unknown: set[str] = set()
        for channel, values in measured.items():
            for gene, number in values.items():
                if gene not in position:
                    unknown.add(gene)
                elif number is not None:
                    raw[channel][position[gene]] = _gene_value(number, channel, f"{field}.{channel}.{gene}")
        if all(np.isnan(channel).all() for channel in raw.values()):
            raise UserError(f"{field}: no measured gene is known to the model; it knows {some_of(self.genes)}")
        if isinstance(unit, str) and not np.isnan(raw["expression"]).all():
            raw["expression"] = self._converted(raw["expression"], unit, f"{field}.unit")
        if unknown:
            names = some_of(sorted(unknown))
            warnings.append(f"{field}: {len(unknown)} genes unknown to the model were left out: {names}")
        return raw

    def write(self, raw: Any) -> dict[str, Any]:
        """In the encoder's unit, genes that were not measured left out."""
        return {"unit": self.unit} | {
            channel: {gene: float(v) for gene, v in zip(self.genes, values, strict=True) if not np.isnan(v)}
            for channel, values in raw.items()
        }

    def _converted(self, values: NDArray[np.float32], unit: str, field: str) -> NDArray[np.float32]:
        profile = pd.DataFrame(values[None], columns=self.genes)
        wrong = [problem for problem in check_unit(profile, unit, Path(field)) if problem.severity == "error"]
        if wrong:
            raise DataError(wrong[0])
        converted: NDArray[np.float32] = convert(profile, unit, self.unit, Path(field)).to_numpy(np.float32)[0]
        return converted

    def describe(self) -> dict[str, Any]:
        by_gene = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
        unit = {"type": "string", "description": f"of expression; the model works in {self.unit}"}
        properties = {"unit": unit, **dict.fromkeys(CHANNELS, by_gene)}
        return {"type": "object", "additionalProperties": False, "properties": properties}


FORM = GenesForm


def _gene_value(number: Any, channel: str, field: str) -> float:
    value = read_number(number, field)
    if channel == "mutations" and value not in (0, 1):
        raise UserError(f"{field}: found {number!r}; a mutation is 1 (found), 0 (looked for, not found) or null")
    return value
