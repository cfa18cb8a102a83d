"""What a server may ask of objectives: a run plan knows each by the id of its installed class."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from foundation.contract import Name, Part, Share
from foundation.errors import UserError

Temperature = Annotated[float, Field(ge=0.001, le=10)]
Weight = Annotated[float, Field(ge=0, le=1000)]


class ObjectivePart(Part):
    """An objective.

    Attributes:
        target: its class.
        owned: settings that change no result, which are the site's own.
    """

    target: ClassVar[str]
    owned: ClassVar[tuple[str, ...]] = ()

    def node(self, here: dict[str, Any] | None) -> dict[str, Any]:
        """The config of it at a site, from the site's own config of that name."""
        site = here if here is not None and here.get("_target_") == self.target else {}
        kept = {key: site[key] for key in self.owned if key in site}
        values = {key: value for key, value in self.values().items() if key != "kind"}
        return {"_target_": self.target, **kept, **values}


class Alignment(ObjectivePart):
    """InfoNCE over pairs of modalities."""

    target: ClassVar[str] = "foundation.objectives.alignment.Alignment"
    owned: ClassVar[tuple[str, ...]] = ("rows_at_once",)

    kind: Literal["alignment"]
    temperature: Temperature = 0.1
    fused: bool = True


class SigLip(ObjectivePart):
    """Alignment by a sigmoid a pair."""

    target: ClassVar[str] = "foundation.objectives.siglip.SigLip"
    owned: ClassVar[tuple[str, ...]] = ("rows_at_once",)

    kind: Literal["siglip"]
    temperature: Temperature = 0.1
    fused: bool = True
    bias: Annotated[float, Field(ge=-100, le=100)] = -10.0


class TwoViews(ObjectivePart):
    """Two views of a patient."""

    target: ClassVar[str] = "foundation.objectives.two_views.TwoViews"

    kind: Literal["two_views"]
    temperature: Temperature = 0.1


class MaskedGenes(ObjectivePart):
    """Hidden genes are told from the others."""

    target: ClassVar[str] = "foundation.objectives.masked_genes.MaskedGenes"

    kind: Literal["masked_genes"]


class MaskedWords(ObjectivePart):
    """Hidden words are told from the others."""

    target: ClassVar[str] = "foundation.objectives.masked_words.MaskedWords"

    kind: Literal["masked_words"]


class MaskedImages(ObjectivePart):
    """Hidden squares are painted from the others."""

    target: ClassVar[str] = "foundation.objectives.masked_images.MaskedImages"

    kind: Literal["masked_images"]
    source: Name = "pathology"
    mask_ratio: Annotated[float, Field(ge=0.05, le=0.9)] = 0.5
    square: Annotated[int, Field(ge=1, le=1024)] = 32


class ExpressionFromImages(ObjectivePart):
    """Expression is told from images."""

    target: ClassVar[str] = "foundation.objectives.expression_from_images.ExpressionFromImages"

    kind: Literal["expression_from_images"]
    source: Name = "pathology"


class Consistency(ObjectivePart):
    """The patient embedding is the same with one modality less."""

    target: ClassVar[str] = "foundation.objectives.consistency.Consistency"

    kind: Literal["consistency"]


class WeightRamp(Part):
    """From one weight to another; see `foundation.objectives.schedule.Ramp`."""

    start: Weight
    end: Weight
    begin: Share = 0.0
    until: Share = 1.0


AnyObjective = Annotated[
    Alignment | SigLip | TwoViews | MaskedGenes | MaskedWords | MaskedImages | ExpressionFromImages | Consistency,
    Field(discriminator="kind"),
]
Objectives = Annotated[dict[Name, AnyObjective], Field(max_length=40)]
Weights = Annotated[dict[Name, Weight | WeightRamp], Field(max_length=40)]
_KINDS: tuple[type[ObjectivePart], ...] = (
    Alignment,
    SigLip,
    TwoViews,
    MaskedGenes,
    MaskedWords,
    MaskedImages,
    ExpressionFromImages,
    Consistency,
)


def objective_part(name: str, node: dict[str, Any]) -> dict[str, Any]:
    """An objective of a server's config, as a plan has it.

    Raises:
        UserError: naming a setting that cannot be asked of a site.
    """
    kind = {part.target: part for part in _KINDS}.get(str(node.get("_target_")))
    if kind is None:
        raise UserError(
            f"objective.{name}: a plan has no word for {node.get('_target_')}; declare one in objectives/plan.py"
        )
    for key in node:
        if key != "_target_" and key not in kind.owned and key not in kind.model_fields:
            raise UserError(f"objective.{name}.{key}: cannot be asked of a site; drop it")
    asked = {key: value for key, value in node.items() if key in kind.model_fields}
    return {"kind": kind.model_fields["kind"].annotation.__args__[0], **asked}  # type: ignore[union-attr]
