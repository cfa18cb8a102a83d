"""Pooling of a set of tokens to one vector."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foundation.blocks import Blocks, pack
from foundation.errors import UserError
from foundation.masks import on_host, real


class GatedPool(nn.Module):
    """Gated attention pooling over a set (Ilse et al. 2018, eq. 9)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)  # the same shift for all changes no share

    def forward(
        self, values: Float[Tensor, "present tokens width"], mask: Bool[Tensor, "present tokens"]
    ) -> Float[Tensor, "present width"]:
        score = self.score(torch.tanh(self.content(values)) * torch.sigmoid(self.gate(values))).squeeze(-1)
        weight = score.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return torch.einsum("nt,ntd->nd", weight, values)


class TransformerPool(nn.Module):
    """Transformer blocks over a learned token and the set, so that tiles see one another.

    As TransMIL (Shao et al. 2021), with exact attention and without positions.
    """

    def __init__(self, width: int, layers: int = 2) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = Blocks(width, layers)

    def forward(
        self, values: Float[Tensor, "present tokens width"], mask: Bool[Tensor, "present tokens"]
    ) -> Float[Tensor, "present width"]:
        who = torch.arange(values.shape[0])
        first = (self.summary.to(values.dtype).expand(values.shape[0], -1), who)
        tokens = (real(values, mask), who[:, None].expand_as(mask)[on_host(mask)])
        pooled: Tensor = self.blocks(pack([first, tokens], values.shape[0])).first()
        return pooled


def pool(kind: str, width: int, setting: str) -> nn.Module:
    """The pooling that a config names.

    Raises:
        UserError: if there is no such pooling.
    """
    kinds: dict[str, type[GatedPool | TransformerPool]] = {"gated": GatedPool, "transformer": TransformerPool}
    if kind not in kinds:
        raise UserError(f"{setting}.pooling: found {kind!r}; choose from {', '.join(kinds)}")
    return kinds[kind](width)
