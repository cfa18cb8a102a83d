"""What a server may ask of federated pretraining: model, objectives, optimiser and batches, typed and ranged."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from omegaconf import DictConfig
from pydantic import Field, model_validator

from foundation.command import plain
from foundation.contract import Count, Dropout, Name, Part, only
from foundation.errors import UserError
from foundation.federation.plan import TaskSettings
from foundation.federation.plan.encoder import Modalities, Size
from foundation.federation.plan.optimizer import Optimizer
from foundation.modalities.plan import modality_part
from foundation.objectives.plan import Objectives, Weights, objective_part
from pretrain.federated.bank.settings import BankSettings


class Batches(Part):
    """Which patients a step sees, and how."""

    batch_size: Count
    modality_dropout: Dropout = 0.0
    modalities: Annotated[tuple[Name, ...], Field(min_length=1, max_length=40)] | None = None
    shuffle_pairs: bool = False


class PretrainingSettings(TaskSettings):
    """The settings of federated pretraining.

    Attributes:
        encoder: size of it.
        modality: by name, its encoder.
        objective: by name.
        objective_weights: by objective; 1 where it is not named.
        optimizer: of each site.
        data: batches.
        ema: decay of an exponential mean of the weights; None keeps none.
        bank: noisy embeddings that sites share; None for none.
        graft: modalities that come later: their encoders alone learn, and the others stay as they are, bit by bit.
    """

    config_name: ClassVar[str] = "federated"
    site_owned: ClassVar[tuple[str, ...]] = (
        "encoder.patients_at_once",
        "encoder.backbone",
        "encoder.image_size",
        "encoder.text_layers",
        "encoder.latents",
        "optimizer.fused",
    )

    encoder: Size
    modality: Modalities
    objective: Objectives
    objective_weights: Weights = Field({})
    optimizer: Optimizer = Optimizer()
    data: Batches
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    bank: BankSettings | None = None
    graft: Annotated[tuple[Name, ...], Field(max_length=40)] = ()

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        for names, known in (
            (self.data.modalities or (), self.modality),
            (() if self.bank is None else self.bank.modalities, self.modality),
            (self.objective_weights, self.objective),
            (self.graft, self.modality),
        ):
            if set(names) - set(known):
                raise ValueError("names a modality or an objective that the plan does not describe")
        return self

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        content = plain(cfg)
        if content.get("untrained"):
            raise UserError("untrained: a control of one place; sites that train nothing have nothing to send, drop it")
        data, optimizer = content.get("data") or {}, dict(content.get("optimizer") or {})
        optimizer.pop("fused", None)
        asked = {
            "encoder": only(content.get("encoder") or {"width": 64}, *Size.model_fields),
            "modality": {
                str(name): modality_part(name, node) for name, node in (content.get("modality") or {}).items()
            },
            "objective": {
                str(name): objective_part(name, node) for name, node in (content.get("objective") or {}).items()
            },
            "objective_weights": content.get("objective_weights") or {},
            "optimizer": optimizer,
            "data": only(data, *Batches.model_fields),
            "ema": content.get("ema"),
            "bank": content.get("bank"),
            **({"graft": content["graft"]} if content.get("graft") else {}),
        }
        if asked["bank"] is not None:
            BankSettings.read(**asked["bank"])  # by its own words
        return cls.read(asked, "asked of sites", ours=True)

    def apply(self, cfg: dict[str, Any]) -> None:
        for part in ("encoder", "optimizer", "data"):
            cfg[part] = {**(cfg.get(part) or {}), **getattr(self, part).values()}
        here = cfg.get("modality") or {}
        cfg["modality"] = {name: part.node(here.get(name)) for name, part in self.modality.items()}
        learnt = cfg.get("objective") or {}
        cfg["objective"] = {name: part.node(learnt.get(name)) for name, part in self.objective.items()}
        values = self.values()
        cfg["objective_weights"] = values.get("objective_weights", {})
        cfg["ema"], cfg["bank"], cfg["untrained"] = self.ema, values.get("bank"), False
        cfg["graft"] = list(self.graft)

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.objective)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.data.modalities or tuple(self.modality)

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    def lines(self) -> list[str]:
        weights = self.values().get("objective_weights", {})
        learns = [f"{name} ({part.kind}, weight {weights.get(name, 1)})" for name, part in self.objective.items()]
        return [
            f"model: width {self.encoder.width}, {self.encoder.fusion_layers} layers of fusion",
            f"modalities: {', '.join(f'{name} ({part.kind})' for name, part in self.modality.items())}",
            f"patients are seen through: {', '.join(self.modalities)}",
            f"objectives: {', '.join(learns)}",
            f"optimiser: {self.optimizer.kind}, learning rate {self.optimizer.learning_rate:g}",
            f"patients a step: {self.data.batch_size}",
            *([f"these alone learn, all others stay as they are: {', '.join(self.graft)}"] if self.graft else []),
            *(["embeddings of patients leave, noised: " + ", ".join(self.bank.modalities)] if self.bank else []),
        ]
