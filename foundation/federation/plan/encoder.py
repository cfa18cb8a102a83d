"""The parts of a plan that describe an encoder: its size, and each modality by the id of an installed config.

What lies in a file (weights, gene sets, a language model) a plan can only ask to be the site's own installed one.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from foundation.errors import UserError
from foundation.federation.plan.fields import Dropout, Name, Part, Share, UnfitPlanError

_INSTALLED = "installed"

Pooling = Literal["gated", "transformer"]
Pixels = Annotated[tuple[Annotated[float, Field(ge=-10, le=10)], ...], Field(min_length=1, max_length=4)]
MaskRatio = Annotated[float, Field(ge=0.05, le=0.9)]
ModelOption = Literal[
    "init_values", "reg_tokens", "dynamic_img_size", "class_token", "no_embed_class", "qk_norm", "drop_path_rate"
]


class Size(Part):
    """Size of the encoder; the other settings of the group `encoder` only feed those of modalities."""

    width: Annotated[int, Field(ge=4, le=16_384)]
    fusion_layers: Annotated[int, Field(ge=0, le=128)] = 1
    dropout: Dropout = 0.1


class ModalityPart(Part):
    """A modality's encoder.

    Attributes:
        target: class that its installed config names.
        files: by setting, the word for its absence; anything else is a file that the site has installed.
    """

    target: ClassVar[str]
    files: ClassVar[dict[str, str]] = {}
    owned: ClassVar[tuple[str, ...]] = ()

    def node(self, here: dict[str, Any] | None) -> dict[str, Any]:
        """The config of it at a site.

        Args:
            here: of the site's own config; None if that has no such modality.

        Raises:
            UnfitPlanError: if the plan counts on a file that this site's settings do not name.
        """
        own = here if here is not None and here.get("_target_") == self.target else {}
        node = {"_target_": self.target, **{key: own[key] for key in self.owned if key in own}}
        for key, value in self.values().items():
            if key == "kind":
                continue
            if key not in self.files:
                node[key] = value
            elif value != _INSTALLED:
                node[key] = None
            elif own.get(key) is None:
                raise UnfitPlanError(
                    f"plan: {type(self).__name__.lower()}.{key}: the site's own file is asked for; name it under "
                    "settings in site.yaml"
                )
            else:
                node[key] = own[key]
        return node


class StainReference(Part):
    """Amounts of stain that tiles are brought to."""

    mean: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
    spread: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]


class Images(ModalityPart):
    """Images through one of timm's models."""

    files: ClassVar[dict[str, str]] = {"weights": "random"}
    owned: ClassVar[tuple[str, ...]] = ("checkpoint_activations",)

    backbone: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}(\.[a-z0-9_]{1,80})?$")] = "resnet10t"
    size: Annotated[int, Field(ge=8, le=4096)] | None = None
    max_images: Annotated[int, Field(ge=1, le=10_000)] = 4
    colour_jitter: Share = 0.2
    drop_rate: Dropout = 0.0
    weights: Literal["random", "installed"] = "random"
    tune: Literal["full", "frozen", "lora"] = "full"
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    pooling: Pooling = "gated"
    patch_dropout: Dropout = 0.0
    model_args: dict[ModelOption, bool | int | Annotated[float, Field(ge=-10, le=10)]] = Field({})
    mean: Pixels | None = None
    std: Pixels | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None


class Pathology(Images):
    """Tiles as pixels."""

    target: ClassVar[str] = "foundation.modalities.pathology.encoder.Pathology"

    kind: Literal["pathology"]
    stain_jitter: Share = 0.0
    stain_reference: StainReference | None = None


class Radiology(Images):
    """Slices as pixels."""

    target: ClassVar[str] = "foundation.modalities.radiology.encoder.Radiology"

    kind: Literal["radiology"]


class PathologyFeatures(ModalityPart):
    """Tiles as features of an extractor."""

    target: ClassVar[str] = "foundation.modalities.pathology.features.TileFeatures"

    kind: Literal["pathology_features"]
    dim: Annotated[int, Field(ge=1, le=65_536)]
    max_tiles: Annotated[int, Field(ge=1, le=100_000)] = 512
    pooling: Pooling = "transformer"
    drop_rate: Dropout = 0.1


class RadiologyVolumes(ModalityPart):
    """Whole scans."""

    target: ClassVar[str] = "foundation.modalities.radiology_volumes.encoder.RadiologyVolumes"

    kind: Literal["radiology_volumes"]
    depth: Literal[10, 18, 34, 50] = 10
    channels: Annotated[int, Field(ge=1, le=1024)] = 16
    max_scans: Annotated[int, Field(ge=1, le=1000)] = 2
    contrast_jitter: Share = 0.1
    drop_rate: Dropout = 0.0
    pooling: Pooling = "gated"


class Genomics(ModalityPart):
    """Profiles by gene."""

    target: ClassVar[str] = "foundation.modalities.genomics.encoder.Genomics"

    kind: Literal["genomics"]
    latents: Annotated[int, Field(ge=1, le=4096)] = 4
    mask_ratio: MaskRatio = 0.2
    pooling: Pooling = "gated"


class Pathways(ModalityPart):
    """Profiles by gene set."""

    target: ClassVar[str] = "foundation.modalities.genomics.pathways.PathwayGenomics"
    files: ClassVar[dict[str, str]] = {"gmt": "none"}

    kind: Literal["pathways"]
    gmt: Literal["installed"]
    fewest: Annotated[int, Field(ge=1, le=10_000)] = 5
    mask_ratio: MaskRatio = 0.2
    pooling: Pooling = "gated"


class Report(ModalityPart):
    """Text."""

    target: ClassVar[str] = "foundation.modalities.report.encoder.Report"
    files: ClassVar[dict[str, str]] = {"model": "built_in"}
    owned: ClassVar[tuple[str, ...]] = ("checkpoint_activations",)

    kind: Literal["report"]
    layers: Annotated[int, Field(ge=1, le=128)] = 2
    dropout: Dropout = 0.1
    max_length: Annotated[int, Field(ge=8, le=65_536)] = 128
    model: Literal["built_in", "installed"] = "built_in"
    tune: Literal["full", "frozen", "lora"] = "full"
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    mask_ratio: MaskRatio = 0.15
    pooling: Pooling = "gated"


class Record(ModalityPart):
    """Columns of the clinical record."""

    target: ClassVar[str] = "foundation.modalities.record.encoder.Record"

    kind: Literal["record"]
    pooling: Pooling = "gated"


AnyModality = Annotated[
    Pathology | PathologyFeatures | Radiology | RadiologyVolumes | Genomics | Pathways | Report | Record,
    Field(discriminator="kind"),
]
Modalities = Annotated[dict[Name, AnyModality], Field(max_length=40)]
_KINDS: tuple[type[ModalityPart], ...] = (
    Pathology,
    PathologyFeatures,
    Radiology,
    RadiologyVolumes,
    Genomics,
    Pathways,
    Report,
    Record,
)


def modality_part(name: str, node: dict[str, Any]) -> dict[str, Any]:
    """A modality of a server's config, as a plan has it.

    Args:
        name: of the modality.
        node: its config.

    Raises:
        UserError: naming a setting that cannot be asked of a site.
    """
    kind = {part.target: part for part in _KINDS}.get(str(node.get("_target_")))
    if kind is None:
        raise UserError(f"modality.{name}: a plan has no word for {node.get('_target_')}; see plan/encoder.py")
    content: dict[str, Any] = {"kind": kind.model_fields["kind"].annotation.__args__[0]}  # type: ignore[union-attr]
    for key, value in node.items():
        if key == "_target_" or key in kind.owned:
            continue
        if key not in kind.model_fields:
            raise UserError(f"modality.{name}.{key}: cannot be asked of a site; drop it")
        content[key] = value if key not in kind.files else (kind.files[key] if value is None else _INSTALLED)
    return content
