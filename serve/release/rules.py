"""What a challenger must hold, declared before it is proposed, and what became of each of it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foundation.run_record import digest_of

Verdict = Literal["held", "broken", "undefined"]
ALL = "all"


class Rules(BaseModel):
    """The declared figures.

    A challenger is no worse overall where the whole 95 % interval of the paired difference stays above minus the
    margin. At a hospital or in a subgroup, which are smaller, it is worse where the whole interval lies below zero;
    these intervals hold at 95 % for all groups and measures at once, so that an equal challenger is refused for any of
    them with chance 0.05 at most, of either sign. Groups with fewer patients or outcomes than
    `foundation.statistics.figure.Support` takes are undefined: neither held nor broken, but listed, and hospitals that
    are defined must hold a share of the patients.

    Args:
        auroc: margin of AUROC.
        brier: margin of the Brier score.
        error: margin of the mean absolute error, as a share of the earlier one's.
        calibration: the mean of chance less outcome may be as far from zero; broken where its whole interval is beyond.
        abstention: it may abstain on so much larger a share; broken where its whole interval is beyond.
        paired: least share of its held-out patients whom the release in use has answered, too; and of those whom that
            one has answered, by output, overall and at each hospital, the least share whom it answers, too.
        defined: least share of these at hospitals where figures are defined.
        subgroups: columns of the cohort's record by which no group may be worse.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    auroc: float = Field(0.02, ge=0, le=1)
    brier: float = Field(0.01, ge=0, le=1)
    error: float = Field(0.05, ge=0, allow_inf_nan=False)
    calibration: float = Field(0.05, ge=0, le=1)
    abstention: float = Field(0.02, ge=0, le=1)
    paired: float = Field(0.9, gt=0, le=1)
    defined: float = Field(0.5, ge=0, le=1)
    subgroups: list[str] = []

    @property
    def digest(self) -> str:
        """Of all of it."""
        return digest_of(self.model_dump())


@dataclass(frozen=True)
class Check:
    """One figure of a challenger held against its rule.

    Attributes:
        rule: in words.
        group: `all`, `hospital` or a column.
        level: of the group.
        n: patients.
        verdict: of it.
        value: of the figure; where it is paired, gain over the release in use, so that more is better.
        low, high: its 95 % interval; of a rule that says so, jointly over so many figures.
        why: what is missing, where it is undefined.
    """

    rule: str
    group: str
    level: str
    n: int
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    def __str__(self) -> str:
        place = "" if self.group == ALL else f" at {self.group} {self.level}"
        if self.value is None:
            return f"{self.rule}{place}: {self.verdict}, {self.n} patients ({self.why})"
        interval = "" if self.low is None or self.high is None else f" ({self.low:+.3f} to {self.high:+.3f})"
        return f"{self.rule}{place}: {self.verdict}, {self.value:+.3f}{interval}, {self.n} patients"


@dataclass(frozen=True)
class Evidence:
    """All checks of a challenger.

    Attributes:
        release: the challenger.
        against: the release in use; None where it is the first.
        rules: digest of the declared ones.
        checks: one by one.
        left_out: patients who could not be compared, in words.
    """

    release: str
    against: str | None
    rules: str
    checks: tuple[Check, ...]
    left_out: str

    @property
    def broken(self) -> list[Check]:
        """Those that stand in its way."""
        return [check for check in self.checks if check.verdict == "broken"]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "promotable": not self.broken}
