"""`task.json`: what a fine-tuned model predicts, of which modalities, with which head."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

FILE = "task.json"
FORMAT = 1
Share = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class HeadEntry(_Part):
    """A head's class and its constructor's arguments."""

    type: str
    settings: dict[str, Any]


class ReliabilityEntry(_Part):
    """The arguments of `finetune.reliability.module.Reliability`, which explains them."""

    modalities: list[str]
    blocks: list[tuple[str, str, Annotated[int, Field(gt=0)]]]
    alternatives: int = Field(ge=0)
    coverage: Share
    flagged: Share
    components: int = Field(gt=0)


class Subset(_Part):
    """A subset of modalities that is calibrated by itself, or keeps the pooled calibration for what it lacks."""

    modalities: list[str]
    patients: int | None = None
    lack: str | None = None


class SubsetsEntry(_Part):
    """The arguments of `finetune.subset_calibration.SubsetCalibration`, which explains them."""

    modalities: list[str]
    outputs: int = Field(gt=0)
    fitted: list[Subset]
    pooled: list[Subset]


class TaskFile(_Part):
    """The file.

    Attributes:
        name: of the task.
        kind: of what is predicted.
        head: that predicts.
        modalities: that the task may look at.
        drop_inputs: what of them is hidden because it holds the target.
        reliability: what says how far an answer can be relied on; None where nothing does.
        subsets: calibration by subset of modalities; None where the head's own is all.
    """

    format: int
    name: str
    kind: str
    head: HeadEntry
    modalities: list[str] = Field(min_length=1)
    drop_inputs: dict[str, list[str]]
    reliability: ReliabilityEntry | None = None
    subsets: SubsetsEntry | None = None
