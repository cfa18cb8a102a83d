"""The config's `cox`: survival learnt by sums over the hospitals instead of updates."""

from typing import Annotated, Literal

import numpy as np
from omegaconf import DictConfig
from pydantic import Field

from foundation.command import plain
from foundation.contract import Part
from foundation.errors import UserError
from foundation.statistics.grid import DAYS_A_MONTH, Grid


class CoxSettings(Part):
    """How survival is learnt by sums, and on which grid of times.

    Args:
        method: `newton`, Cox regression of the last layer on a frozen encoder; `gradient`, steps along the gradient of
            the pooled loss of the whole model; `stratified`, Newton steps in which each hospital's risk sets stay
            there, so that hospitals are strata.
        days: length of a cell of the grid: times count at its end, and the loss is that of the rounded times. 1 is
            exact; a month hides on which day somebody died.
        years: at which the grid ends; later follow-up is censored there.
        ties: of events in one cell, for `newton` and `stratified`; `gradient` is that of the head's loss, Breslow's.
        ridge: of `newton` and `stratified`: half of it times the squared coefficients is taken off the log-likelihood.
    """

    method: Literal["newton", "gradient", "stratified"] = "newton"
    days: Annotated[float, Field(ge=1, le=3660)] = DAYS_A_MONTH
    years: Annotated[float, Field(gt=0, le=120)] = 25.0
    ties: Literal["efron", "breslow"] = "efron"
    ridge: Annotated[float, Field(ge=0, le=1e6)] = 1.0

    @classmethod
    def of(cls, cfg: DictConfig) -> "CoxSettings | None":
        """Those of a run; None where sites send updates.

        Raises:
            UserError: naming the field.
        """
        if cfg.get("cox") is None:
            return None
        settings = cls.read(plain(cfg.cox), "cox", ours=True)
        if settings.method != "gradient" and not cfg.frozen:
            raise UserError(f"cox.method: {settings.method} learns the last layer alone; set frozen=true, or gradient")
        return settings

    @property
    def grid(self) -> Grid:
        """Ends of the cells, in days."""
        cells = round(self.years * 365.25 / self.days)
        return Grid(self.days * np.arange(1, cells + 1, dtype=np.float64), "up")
