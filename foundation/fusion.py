"""Fusion: all tokens that a patient has, through transformer blocks, to one patient embedding."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foundation.blocks import Blocks, pack
from foundation.masks import on_host, real
from foundation.modalities.base import Tokens


class Fusion(nn.Module):
    """A transformer over `[patient] + tokens of each present modality`; what is absent takes no token and no compute.

    Args:
        modalities: names, each with its own embedding.
        width: of the tokens.
        layers: transformer blocks.
        dropout: in attention and feed-forward.
    """

    def __init__(self, modalities: list[str], width: int, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.patient = nn.Parameter(torch.randn(width) * 0.02)
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in modalities})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.blocks = Blocks(width, layers, dropout)

    def forward(
        self,
        tokens: dict[str, Tokens],
        rows: dict[str, Int[Tensor, " present"]],
        batch: int,
        placeholder_tokens: dict[str, Tokens] | None = None,
    ) -> Float[Tensor, "batch width"]:
        """Fuses tokens of the present patients; `rows`, on the host, says where in the batch each belongs.

        Placeholder tokens belong to nobody: they pass through their modality's own parameters and count nothing.
        """
        everybody = torch.arange(batch)
        first = self.patient.expand(batch, -1)
        parts: list[tuple[Tensor, Tensor]] = []
        for name in self.kind:
            values, mask = tokens.get(name) or (placeholder_tokens or {}).get(name) or (None, None)
            if values is None or mask is None:
                continue
            marked = self.norm[name](real(values, mask)) + self.kind[name]
            if name in tokens:
                parts.append((marked, rows[name][:, None].expand_as(mask)[on_host(mask)]))
            else:
                first = first + 0 * marked.sum()
        fused: Tensor = self.blocks(pack([(first, everybody), *parts], batch)).first()
        return fused
