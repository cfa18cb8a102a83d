"""What a server may ask of federated fine-tuning and of a federated evaluation, typed and ranged."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from omegaconf import DictConfig
from pydantic import Field

from finetune.federated.reliability_settings import ReliabilityPart, SupportPart
from finetune.federated.survival_settings import CoxSettings
from foundation.command import plain
from foundation.contract import Count, Digest, Dropout, Name, Part, Positive, Share, only
from foundation.errors import UserError
from foundation.federation.plan import TaskSettings

_HEADS = "finetune.heads."
_COLUMNS = ("target", "labels", "event", "cause", "time")
Label = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,79}$")]  # a column of the cohort's own table
Word = Annotated[str, Field(pattern=r"^[\w][\w +/.-]{0,79}$")]  # a class, or a gene
Days = Annotated[tuple[Count, ...], Field(max_length=40)]
Quantity = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.+-]{0,199}$")]  # a column, or what genomics gives
Modalities = Annotated[tuple[Name, ...], Field(min_length=1, max_length=40)]


class ClassificationPart(Part):
    """A head over classes; see `finetune.heads.classification`."""

    target_name: ClassVar[str] = f"{_HEADS}classification.Classification"

    kind: Literal["classification"]
    target: Label
    classes: Annotated[tuple[Word, ...], Field(min_length=2, max_length=64)] | None = None
    class_weights: Annotated[tuple[Positive, ...], Field(max_length=64)] | None = None
    dropout: Dropout = 0.1


class MultiLabelPart(Part):
    """A head over labels of which any may be unknown; see `finetune.heads.multilabel`."""

    target_name: ClassVar[str] = f"{_HEADS}multilabel.MultiLabel"

    kind: Literal["multilabel"]
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=64)]
    class_weights: Annotated[tuple[tuple[Positive, Positive], ...], Field(max_length=64)] | None = None
    dropout: Dropout = 0.1


class FollowUpPart(Part):
    """An event in time; see `finetune.heads.follow_up`."""

    event: Label = "os_event"
    time: Label = "os_days"
    horizons: Days | None = None
    dropout: Dropout = 0.1


class SurvivalPart(FollowUpPart):
    """A proportional hazard; see `finetune.heads.survival`."""

    target_name: ClassVar[str] = f"{_HEADS}survival.Survival"

    kind: Literal["survival"]


class DiscretePart(FollowUpPart):
    """Hazards of intervals; see `finetune.heads.discrete`."""

    target_name: ClassVar[str] = f"{_HEADS}discrete.DiscreteHazards"

    kind: Literal["discrete"]
    edges: Days | None = None


class CompetingPart(Part):
    """Hazards of causes; see `finetune.heads.competing`."""

    target_name: ClassVar[str] = f"{_HEADS}competing.CompetingRisks"

    kind: Literal["competing"]
    cause: Label = "cause"
    time: Label = "os_days"
    causes: Annotated[tuple[Word, ...], Field(min_length=2, max_length=16)]
    horizons: Days | None = None
    edges: Days | None = None
    dropout: Dropout = 0.1


class RegressionPart(Part):
    """A quantity; see `finetune.heads.regression`."""

    target_name: ClassVar[str] = f"{_HEADS}regression.Regression"

    kind: Literal["regression"]
    target: Quantity
    unit: Word
    scale: Literal["linear", "log"] = "linear"
    dropout: Dropout = 0.1


_PARTS: dict[str, Any] = {
    part.target_name: (kind, part)
    for kind, part in (
        ("classification", ClassificationPart),
        ("multilabel", MultiLabelPart),
        ("survival", SurvivalPart),
        ("discrete", DiscretePart),
        ("competing", CompetingPart),
        ("regression", RegressionPart),
    )
}


class TaskPart(Part):
    """What is predicted, and from what."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    modalities: Modalities | None = None
    drop_inputs: Annotated[dict[Name, Annotated[tuple[Word, ...], Field(max_length=10_000)]], Field(max_length=40)] = (
        Field({})
    )
    head: Annotated[
        ClassificationPart | MultiLabelPart | SurvivalPart | DiscretePart | CompetingPart | RegressionPart,
        Field(discriminator="kind"),
    ]

    def node(self) -> dict[str, Any]:
        """As a config holds it; the class is this release's own."""
        values = self.values()
        head = {name: value for name, value in values["head"].items() if name != "kind"}
        content = {"modalities": None, "drop_inputs": {}, **values}
        return content | {"head": {"_target_": self.head.target_name, **head}}


class Steps(Part):
    """How the weights move; in how many kernels is the site's own matter."""

    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    encoder_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.05
    warmup: Share = 0.1


class Patients(Part):
    """Which patients a step sees, and how."""

    batch_size: Count
    modality_dropout: Dropout = 0.0
    modalities: Modalities
    augment: bool | None = None


class FinetuningSettings(TaskSettings):
    """The settings of federated fine-tuning.

    Attributes:
        task: what is predicted.
        encoder: digest of the encoder's files, which every site must hold.
        frozen: whether the head alone learns.
        cox: survival by sums; None where sites send updates.
        optimizer: of each site.
        data: batches.
        reliability: sums after the last round that say how far answers can be relied on; None for none.
        calibration: the same by subset of modalities; None for none.
    """

    config_name: ClassVar[str] = "finetune_federated"
    site_owned: ClassVar[tuple[str, ...]] = ("pretrained", "embeddings", "optimizer.fused")

    task: TaskPart
    encoder: Digest
    frozen: bool = True
    cox: CoxSettings | None = None
    optimizer: Steps = Steps()
    data: Patients
    reliability: ReliabilityPart | None = None
    calibration: SupportPart | None = None

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        content = plain(cfg)
        task = dict(content["task"])
        head = dict(task["head"])
        target = str(head.pop("_target_", ""))
        if target not in _PARTS:
            known = ", ".join(sorted(_PARTS))
            raise UserError(f"task.head._target_: {target} has no place in a plan for hospitals; choose from {known}")
        kind, _ = _PARTS[target]
        head = {name: value for name, value in head.items() if value is not None}
        asked = {
            "task": {
                "name": task["name"],
                "modalities": task.get("modalities"),
                "drop_inputs": task.get("drop_inputs") or {},
                "head": {"kind": kind, **head},
            },
            **only(content, "encoder", "frozen"),
            "cox": None if content.get("cox") is None else CoxSettings.of(cfg).values(),  # type: ignore[union-attr]
            "optimizer": only(content["optimizer"], *Steps.model_fields),
            "data": only(content["data"], *Patients.model_fields),
            **only(content, "reliability", "calibration"),
        }
        return cls.read(asked, "asked of sites", ours=True)

    def apply(self, cfg: dict[str, Any]) -> None:
        for part in ("optimizer", "data"):
            cfg[part] = {**(cfg.get(part) or {}), **getattr(self, part).values()}
        cfg["task"], cfg["encoder"], cfg["frozen"] = self.task.node(), self.encoder, self.frozen
        cfg["cox"] = None if self.cox is None else self.cox.values()
        cfg["reliability"] = None if self.reliability is None else self.reliability.values()
        cfg["calibration"] = None if self.calibration is None else self.calibration.values()

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.data.modalities

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    def lines(self) -> list[str]:
        head = self.task.head
        learns = "the head alone" if self.frozen else "encoder and head"
        columns = [value for name, value in head.values().items() if name in _COLUMNS]
        return [
            f"task: {self.task.name} ({head.kind} of {', '.join(map(str, columns))})",
            f"patients are seen through: {', '.join(self.modalities)}",
            f"learns: {learns}, learning rate {self.optimizer.learning_rate:g}",
            f"patients a step: {self.data.batch_size}",
            *([f"survival by sums over risk sets: {self.cox.method}"] if self.cox else []),
            *self._told_last(),
        ]

    def _told_last(self) -> list[str]:
        """What sums after the last round fit, beside the head's calibration."""
        if self.reliability is None:
            return []
        what = "sets or intervals" if self.reliability.flagged is None else "sets or intervals, moments of features"
        return [f"sums after the last round: {what}, by subset of modalities"]


class EvaluationSettings(TaskSettings):
    """The settings of a federated evaluation; the model comes with its question.

    Attributes:
        part: of the patients, as the site's own split deals them.
        replicates: of the patient bootstrap.
        age_bands: years at which subgroups of age begin.
        baselines: modalities whose plain features are baselines beside age and sex; None for no baseline.
        data: modalities that patients are seen through.
    """

    config_name: ClassVar[str] = "evaluate_federated"
    site_owned: ClassVar[tuple[str, ...]] = ("run", "hospital_replicates", "data")

    part: Literal["test", "validation", "train"] = "test"
    replicates: Annotated[int, Field(ge=0, le=2000)] = 200
    age_bands: Annotated[tuple[Annotated[float, Field(ge=0, le=120)], ...], Field(max_length=12)] = ()
    seen_through: Modalities
    baselines: Annotated[tuple[Name, ...], Field(max_length=40)] | None = None

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        content = plain(cfg)
        asked = only(content, "part", "replicates", "age_bands", "baselines") | {
            "seen_through": content["data"]["modalities"]
        }
        return cls.read(asked, "asked of sites", ours=True)

    def apply(self, cfg: dict[str, Any]) -> None:
        cfg["part"], cfg["replicates"], cfg["age_bands"] = self.part, self.replicates, list(self.age_bands)
        cfg["data"] = {**cfg["data"], "modalities": list(self.seen_through)}
        cfg["baselines"] = None if self.baselines is None else list(self.baselines)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.seen_through

    def lines(self) -> list[str]:
        return [
            f"nobody trains: a model comes, and tables of the {self.part} patients are counted and summed",
            f"patients are seen through: {', '.join(self.modalities)}",
            f"replicates of the patients: {self.replicates}",
            *([] if self.baselines is None else ["train patients: sums of regressions that the model must beat"]),
        ]
