"""The config's `reliability` and `calibration` across hospitals: what sums after the last round fit."""

from typing import Annotated

from omegaconf import DictConfig
from pydantic import Field

from foundation.command import plain
from foundation.contract import Count, Part


class ReliabilityPart(Part):
    """How far answers are to be relied on.

    Args:
        coverage: chance with which a set or an interval holds the truth.
        flagged: at most this share of patients like those learnt from is out of distribution; None for no such score,
            and then no moments of features leave a hospital.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    flagged: Annotated[float, Field(gt=0, lt=1)] | None = 0.02

    @classmethod
    def of(cls, cfg: DictConfig) -> "ReliabilityPart | None":
        """Those of a run; None where nothing is fitted.

        Raises:
            UserError: naming the field.
        """
        return None if cfg.get("reliability") is None else cls.read(plain(cfg.reliability), "reliability", ours=True)


class SupportPart(Part):
    """What a subset of modalities must have to be calibrated by itself; see `finetune.subset_calibration`."""

    patients: Count = 50
    outcome: Count = 10

    @classmethod
    def of(cls, cfg: DictConfig) -> "SupportPart | None":
        """Those of a run; None where all is pooled.

        Raises:
            UserError: naming the field.
        """
        return None if cfg.get("calibration") is None else cls.read(plain(cfg.calibration), "calibration", ours=True)
