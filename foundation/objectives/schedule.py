"""Weights of objectives that change over a run."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foundation.errors import UserError


class Ramp(BaseModel):
    """From one weight to another, in a straight line between two points of the run.

    Attributes:
        start: weight until `begin`.
        end: weight from `until` on.
        begin: share of the run's steps.
        until: share of the run's steps.
    """

    model_config = ConfigDict(extra="forbid")

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    begin: float = Field(0.0, ge=0, le=1)
    until: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Ramp":
        if self.until < self.begin:
            raise ValueError("`until` lies before `begin`")
        return self

    def at(self, share: float) -> float:
        """The weight when so much of the run is done."""
        if share >= self.until:
            return self.end
        if share <= self.begin:
            return self.start
        return self.start + (self.end - self.start) * (share - self.begin) / (self.until - self.begin)


def ramps(weights: Mapping[str, Any], objectives: Mapping[str, Any]) -> dict[str, Ramp]:
    """The config's `objective_weights`: by objective a number, or `start` and `end` with `begin` and `until`.

    Raises:
        UserError: if an objective is not there, or a weight cannot be read.
    """
    by_objective = {name: Ramp(start=1.0, end=1.0) for name in objectives}
    for name, value in weights.items():
        if name not in objectives:
            raise UserError(f"objective_weights.{name}: no such objective; there are {', '.join(objectives)}")
        setting = value if isinstance(value, Mapping) else {"start": value, "end": value}
        try:
            by_objective[name] = Ramp.model_validate(dict(setting))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["objective_weights", name, *map(str, first["loc"])])
            raise UserError(f"{where}: {first['msg']}; give a number, or start, end, begin and until") from error
    return by_objective
