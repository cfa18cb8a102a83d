"""The output of the encoder for a batch, as objectives and heads see it."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from foundation.modalities.base import Tokens


@dataclass
class EncoderOutput:
    """What objectives and heads see.

    Attributes:
        fused: `[batch, width]`, the patient embedding.
        embeddings: by modality, `[present, width]` of unit length, for alignment.
        tokens: by modality, tokens and mask of the present patients.
        placeholder_tokens: where several processes train together, tokens `[1, tokens, width]` of a blank input of each
            modality that this process's batch lacks; empty otherwise.
        zero_loss: zero, and a function of every modality's parameters, to be added to the loss there; None otherwise.
    """

    fused: Float[Tensor, "batch width"]
    embeddings: dict[str, Tensor]
    tokens: dict[str, Tokens]
    placeholder_tokens: dict[str, Tokens] = field(default_factory=dict)
    zero_loss: Tensor | None = None
