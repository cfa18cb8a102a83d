"""Genomics in a request: by channel, values by gene."""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import DataError, Problem
from foundation.data.units import LINEAR, UNITS, check_unit, convert
from foundation.modalities.genomics.storage import CHANNELS, Channels
from foundation.modalities.genomics.symbols import Merge, by_symbol
from foundation.modalities.request import (
    LARGEST,
    RequestError,
    RequestForm,
    field_name,
    read_number,
    read_object,
    shown,
    some_of,
)

_MOST_GENES = 100_000  # names a channel; an annotation of all transcribed genes has about 60,000
_LONGEST_NAME = 200  # characters; names of no gene come back in warnings
_HIGHEST_COPIES = 15.0  # of a log2 ratio, as in data preparation
_TOO_LARGE = 413
_BELIED = "send the unit that the values are in"  # who sends a request declares no cohort


class GenesForm(RequestForm):
    """Expression, mutations and copy number by gene: approved symbol, former symbol, alias, Ensembl or HGNC id.

    Attributes:
        kind: see `RequestForm`.
        genes: symbols that the encoder knows, in its order.
        unit: of expression that the encoder takes; a request declares its own, which must be this or convert exactly.
    """

    kind: Literal["genes"] = "genes"
    genes: list[str]
    unit: str

    def read(self, value: Any, field: str, warnings: list[str]) -> Channels:
        """By channel, float32 `[genes]`, NaN where the request says nothing. Names are resolved as in preparation."""
        content = read_object(value, field, ("unit", *CHANNELS))
        profiles = {name: _numbers(content[name], name, f"{field}.{name}") for name in CHANNELS if name in content}
        sent = {name: profile for name, profile in profiles.items() if profile.size}
        if not sent:
            advice = f"give at least one of {', '.join(CHANNELS)} by gene symbol"
            raise RequestError(field, "no measurements", advice)
        unit = content.get("unit")
        if ("expression" in content or "unit" in content) and unit not in UNITS:
            advice = f"say the unit of expression, {self.unit!r} if it is that; known are {', '.join(UNITS)}"
            raise RequestError(f"{field}.unit", f"found {shown(unit)}", advice)
        named = {
            name: self._by_symbol(profile, name, str(unit), f"{field}.{name}", warnings)
            for name, profile in sent.items()
        }
        if "expression" in named:
            named["expression"] = self._converted(named["expression"], str(unit), Path(f"{field}.unit"), warnings)
        return self._aligned(named, field, warnings)

    def _aligned(self, named: dict[str, pd.DataFrame], field: str, warnings: list[str]) -> Channels:
        """The model's genes of channels `[1, symbols]`, and word of those that it does not know."""
        wanted = list(_approved(tuple(self.genes)))
        others = sorted({gene for profile in named.values() for gene in profile} - {*self.genes, *wanted})
        if others:
            line = f"{len(others)} genes unknown to the model were left out: {some_of(others)}"
            warnings.append(f"{field}: {line}")
        raw = {name: np.full(len(self.genes), np.nan, dtype=np.float32) for name in CHANNELS}
        for name, profile in named.items():
            exact = profile.reindex(columns=self.genes).to_numpy(np.float32)[0]
            renamed = profile.reindex(columns=wanted).to_numpy(np.float32)[0]
            raw[name] = np.where(np.isnan(exact), renamed, exact)
        if all(np.isnan(channel).all() for channel in raw.values()):
            raise RequestError(field, "no measured gene is known to the model", f"it knows {some_of(self.genes)}")
        return raw

    def count(self, value: Any) -> int:
        """Names that anything was measured of."""
        return len({gene for name in CHANNELS for gene, number in value.get(name, {}).items() if number is not None})

    def places(self, value: Any) -> list[str]:
        """Expression as a whole, for there are thousands of it; each gene that is mutated or has other than two copies.

        Genes without a finding are not taken away: that they have none is told by what is left of their channel.
        """
        whole = [".expression"] if value.get("expression") else []
        found = [
            f".{channel}.{gene}"
            for channel in ("mutations", "copy_number")
            for gene, number in value.get(channel, {}).items()
            if number
        ]
        return whole + found

    def without(self, value: Any, away: Collection[str]) -> dict[str, Any]:
        """What stays; a channel of which nothing is left is left out."""
        kept = {
            channel: {gene: number for gene, number in value[channel].items() if f".{channel}.{gene}" not in away}
            for channel in CHANNELS
            if channel in value and f".{channel}" not in away
        }
        unit = {"unit": value["unit"]} if "expression" in kept and "unit" in value else {}
        return unit | {channel: genes for channel, genes in kept.items() if genes}

    def write(self, raw: Any) -> dict[str, Any]:
        """In the encoder's unit, genes that were not measured left out."""
        return {"unit": self.unit} | {
            channel: {gene: float(v) for gene, v in zip(self.genes, values, strict=True) if not np.isnan(v)}
            for channel, values in raw.items()
        }

    def _by_symbol(
        self, profile: pd.DataFrame, channel: str, unit: str, field: str, warnings: list[str]
    ) -> pd.DataFrame:
        """A channel `[1, symbols]` under approved symbols; several names of one gene become one as in preparation."""
        if set(profile.columns) <= set(self.genes):
            return profile
        merge: Merge | None = None
        if channel == "mutations":
            merge = _highest
        elif channel == "expression" and unit in LINEAR:
            merge = _sum
        values, notes = by_symbol(profile, GeneVocabulary.shipped(), Path(field), merge)
        _add(notes, warnings)
        return values

    def _converted(self, profile: pd.DataFrame, unit: str, place: Path, warnings: list[str]) -> pd.DataFrame:
        """Expression in the encoder's unit, held against the unit declared as in preparation."""
        findings = [replace(one, advice=_BELIED) for one in check_unit(profile, unit, place)]
        wrong = [problem for problem in findings if problem.severity == "error"]
        if wrong:
            raise DataError(wrong[0])
        _add(findings, warnings)
        return convert(profile, unit, self.unit, place)

    def describe(self) -> dict[str, Any]:
        unit = {"enum": list(UNITS), "description": f"of expression; the model works in {self.unit}"}
        ranges: dict[str, dict[str, Any]] = {
            "expression": {"type": ["number", "null"], "minimum": -LARGEST, "maximum": LARGEST},
            "mutations": {"enum": [0, 1, None]},
            "copy_number": {"type": ["number", "null"], "minimum": -_HIGHEST_COPIES, "maximum": _HIGHEST_COPIES},
        }
        channels = {
            name: {
                "type": "object",
                "maxProperties": _MOST_GENES,
                "propertyNames": {"maxLength": _LONGEST_NAME},
                "additionalProperties": cell,
            }
            for name, cell in ranges.items()
        }
        properties = {"unit": unit, **channels}
        measured = {"not": {"additionalProperties": {"type": "null"}}}
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            "dependentRequired": {"expression": ["unit"]},
            "anyOf": [{"required": [name], "properties": {name: measured}} for name in CHANNELS],
        }


FORM = GenesForm


@cache
def _approved(genes: tuple[str, ...]) -> tuple[str, ...]:
    """The approved symbols of genes today: a symbol may have changed since a model was trained."""
    symbols = GeneVocabulary.shipped().resolve(genes).symbol
    return tuple(symbols.get(gene, gene) for gene in genes)


def _numbers(value: Any, channel: str, field: str) -> pd.DataFrame:
    """A channel as sent, `[1, names]`; names of which nothing is known are left out."""
    content = read_object(value, field)
    if len(content) > _MOST_GENES:
        raise RequestError(field, f"{len(content)} names", f"give at most {_MOST_GENES}", _TOO_LARGE)
    longest = max(content, key=len, default="")
    if len(longest) > _LONGEST_NAME:
        finding = f"a name of {len(longest)} characters"
        raise RequestError(field_name(f"{field}.{longest}"), finding, "name genes by symbol or Ensembl id")
    numbers = {
        gene: _gene_value(number, channel, field_name(f"{field}.{gene}"))
        for gene, number in content.items()
        if number is not None
    }
    return pd.DataFrame([numbers], dtype=np.float64)


def _gene_value(number: Any, channel: str, field: str) -> float:
    value = read_number(number, field)
    if channel == "mutations" and value not in (0, 1):
        advice = "a mutation is 1 (found), 0 (looked for, not found) or null"
        raise RequestError(field, f"found {shown(number)}", advice)
    if channel == "copy_number" and abs(value) > _HIGHEST_COPIES:
        raise RequestError(field, f"found {shown(number)}", "give copies (-2 to 2) or a log2 ratio")
    return value


def _add(findings: list[Problem], warnings: list[str]) -> None:
    warnings += [str(problem) for problem in findings if problem.severity == "warning"]


def _highest(columns: pd.DataFrame) -> "pd.Series[float]":
    return columns.max(axis=1)


def _sum(columns: pd.DataFrame) -> "pd.Series[float]":
    return columns.sum(axis=1, min_count=1)
