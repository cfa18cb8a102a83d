"""Eligibility criteria as a YAML file declares them, each a rule on one column."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.documents import read_yaml, validated
from foundation.errors import UserError

_ADVICE = "name a list of criteria, each with a column and one of at_least, at_most, one_of, none_of, known"


class Criterion(BaseModel):
    """A rule that a patient meets, fails, or of which their column says nothing.

    Attributes:
        column: of the record, a label, `hospital` or `score`.
        name: of the criterion; the rule in words if none.
        at_least, at_most: bounds of a number, both inclusive.
        one_of, none_of: words or numbers.
        known: alone, whether the column must be known.
        unknown: what a patient is whose column says nothing: `fails` or `meets`.
    """

    model_config = ConfigDict(extra="forbid")

    column: str
    name: str = ""
    at_least: float | None = Field(None, allow_inf_nan=False)
    at_most: float | None = Field(None, allow_inf_nan=False)
    one_of: list[str | float] | None = Field(None, min_length=1)
    none_of: list[str | float] | None = Field(None, min_length=1)
    known: bool | None = None
    unknown: str = Field("fails", pattern="^(fails|meets)$")

    @model_validator(mode="after")
    def _one_rule(self) -> "Criterion":
        rules = [self._bounds, self.one_of is not None, self.none_of is not None, self.known is not None]
        if sum(rules) != 1:
            raise ValueError(f"criterion on '{self.column}' needs one of bounds, one_of, none_of, known, and no more")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"criterion on '{self.column}': at_least lies above at_most")
        return self

    @property
    def _bounds(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def words(self) -> str:
        """The name, or the rule itself."""
        if self.name:
            return self.name
        if self.known is not None:
            return f"{self.column} {'known' if self.known else 'unknown'}"
        low = f" from {self.at_least:g}" if self.at_least is not None else ""
        high = f" up to {self.at_most:g}" if self.at_most is not None else ""
        choice = f" one of {', '.join(map(_word, self.one_of))}" if self.one_of is not None else ""
        other = f" none of {', '.join(map(_word, self.none_of))}" if self.none_of is not None else ""
        return f"{self.column}{low}{high}{choice}{other}"

    def meets(self, column: "pd.Series[Any]", levels: Sequence[str] = ()) -> NDArray[np.bool_]:
        """Who meets it: `[patients]`.

        Args:
            column: of the patients.
            levels: that the cohort declares for it, whether or not a patient has them.

        Raises:
            UserError: where bounds are of a column of words, or a value is neither declared nor of any patient.
        """
        known = column.notna().to_numpy()
        if self.known is not None:
            return np.asarray(known == self.known)
        if self._bounds:
            numbers = pd.to_numeric(column, errors="coerce")
            if int(numbers.notna().sum()) < int(known.sum()):
                raise UserError(f"criterion '{self.words}': '{self.column}' holds words; use one_of")
            values = numbers.to_numpy(np.float64)
            low = -np.inf if self.at_least is None else self.at_least
            high = np.inf if self.at_most is None else self.at_most
            meets = (values >= low) & (values <= high)
        else:
            listed = self._keys({_key(value) for value in (*column.dropna(), *levels)}, levels)
            inside = np.array([_key(value) in listed for value in column])
            meets = inside if self.one_of is not None else ~inside
        return np.asarray(np.where(known, meets, self.unknown == "meets"), dtype=np.bool_)

    def _keys(self, known: AbstractSet[object], levels: Sequence[str]) -> set[object]:
        """The values that the rule names, each of which must be one of the column."""
        values = [*(self.one_of or []), *(self.none_of or [])]
        missing = next((value for value in values if _key(value) not in known), None)
        if missing is not None:
            there = f"; it has {', '.join(levels)}" if levels else ""
            raise UserError(
                f"criterion '{self.words}': no patient's '{self.column}' is {_word(missing)}{there}; mend the "
                "spelling, or leave it out"
            )
        return {_key(value) for value in values}


class Criteria(BaseModel):
    """The file: a list of criteria, in the order in which patients are asked."""

    model_config = ConfigDict(extra="forbid")

    criteria: list[Criterion] = Field(min_length=1)


def read_criteria(path: Path) -> list[Criterion]:
    """The criteria of a file.

    Raises:
        UserError: if it is missing, or holds something else.
    """
    criteria = validated(Criteria, read_yaml(path, _ADVICE), path, _ADVICE).criteria
    names = [criterion.words for criterion in criteria]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: criterion '{twice}' stands there twice; give each a name of its own")
    return criteria


def _key(value: object) -> object:
    """A value as criteria and columns share it: numbers by value, all else by its text."""
    return float(value) if isinstance(value, int | float | np.number) else str(value)


def _word(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
