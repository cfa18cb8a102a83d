"""The parts of a plan that describe an encoder: its size, and its modalities by what each package declares."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from foundation.contract import Dropout, Name, Part
from foundation.modalities.plan import ModalityPart, parts


class Size(Part):
    """Size of the encoder; the other settings of the group `encoder` only feed those of modalities."""

    width: Annotated[int, Field(ge=4, le=16_384)]
    fusion_layers: Annotated[int, Field(ge=0, le=128)] = 1
    dropout: Dropout = 0.1


if TYPE_CHECKING:
    AnyModality = ModalityPart
else:
    AnyModality = Annotated[reduce(or_, parts()), Field(discriminator="kind")]
Modalities = Annotated[dict[Name, AnyModality], Field(max_length=40)]
