"""A modality's part of a run plan: what a server may ask of its encoder. Each package declares its own as `PARTS`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from foundation.contract import Part, UnfitPlanError
from foundation.data.packages import modules
from foundation.errors import UserError

_INSTALLED = "installed"

Pooling = Literal["gated", "transformer"]
MaskRatio = Annotated[float, Field(ge=0.05, le=0.9)]


class ModalityPart(Part):
    """A modality's encoder.

    Attributes:
        target: class that its installed config names.
        kind: id of it in plans.
        files: by setting, the word for its absence; anything else is a file that the site has installed.
        owned: settings that change no result, which are the site's own.
    """

    target: ClassVar[str]
    files: ClassVar[dict[str, str]] = {}
    owned: ClassVar[tuple[str, ...]] = ()

    kind: str

    def node(self, here: dict[str, Any] | None) -> dict[str, Any]:
        """The config of it at a site.

        Args:
            here: of the site's own config; None if that has no such modality.

        Raises:
            UnfitPlanError: if the plan counts on a file that this site's settings do not name.
        """
        site = here if here is not None and here.get("_target_") == self.target else {}
        node = {"_target_": self.target, **{key: site[key] for key in self.owned if key in site}}
        for key, value in self.values().items():
            if key == "kind":
                continue
            if key not in self.files:
                node[key] = value
            elif value != _INSTALLED:
                node[key] = None
            elif site.get(key) is None:
                raise UnfitPlanError(
                    f"plan: {type(self).__name__.lower()}.{key}: the site's own file is asked for; name it under "
                    "settings in site.yaml"
                )
            else:
                node[key] = site[key]
        return node


def parts() -> tuple[type[ModalityPart], ...]:
    """Those of all installed modalities."""
    return tuple(part for module in modules("plan").values() for part in module.PARTS)


def modality_part(name: str, node: dict[str, Any]) -> dict[str, Any]:
    """A modality of a server's config, as a plan has it.

    Args:
        name: of the modality.
        node: its config.

    Raises:
        UserError: naming a setting that cannot be asked of a site.
    """
    kind = {part.target: part for part in parts()}.get(str(node.get("_target_")))
    if kind is None:
        raise UserError(
            f"modality.{name}: a plan has no word for {node.get('_target_')}; its package declares one in plan.py"
        )
    content: dict[str, Any] = {"kind": kind.model_fields["kind"].annotation.__args__[0]}  # type: ignore[union-attr]
    for key, value in node.items():
        if key == "_target_" or key in kind.owned:
            continue
        if key not in kind.model_fields:
            raise UserError(f"modality.{name}.{key}: cannot be asked of a site; drop it")
        content[key] = value if key not in kind.files else (kind.files[key] if value is None else _INSTALLED)
    return content
