"""Transformer blocks over packed sets: sequences of any length side by side, with nothing computed for padding."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from timm.layers import Mlp
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional

from foundation.masks import send

_HEAD = 32


class Layout(NamedTuple):
    """Where packed tokens belong.

    Attributes:
        owner: whose set each token is in, `[tokens]`, rising.
        place: its position in that set, `[tokens]`.
        sets: how many there are.
        longest: tokens of the largest set.
        first: where each set begins, `[sets]`.
    """

    owner: Int[Tensor, " tokens"]
    place: Int[Tensor, " tokens"]
    sets: int
    longest: int
    first: Int[Tensor, " sets"]


@dataclass
class Packed:
    """Tokens of many sets in one row: `values` `[tokens, width]`, each set's beside each other."""

    values: Float[Tensor, "tokens width"]
    layout: Layout

    def first(self) -> Float[Tensor, "sets width"]:
        """The first token of every set."""
        return self.values.index_select(0, self.layout.first)


def pack(parts: list[tuple[Tensor, Tensor]], sets: int) -> Packed:
    """Tokens given in parts, `(values [tokens, width], owner [tokens])`, brought together by owner.

    A set keeps the order of the parts. Owners are on the host, where the layout is computed: a device is asked nothing.
    """
    owner = torch.cat([owner for _, owner in parts])
    order = owner.argsort(stable=True)
    owner = owner[order]
    counts = torch.zeros(sets, dtype=torch.long).index_add(0, owner, torch.ones_like(owner))
    first = counts.cumsum(0) - counts
    place = torch.arange(owner.shape[0]) - first[owner]
    together = torch.cat([values for values, _ in parts])
    owner, place, first, order = (send(kept, together.device) for kept in (owner, place, first, order))
    longest: int = counts.max().item()  # type: ignore[assignment]  # of integers; `int` would ask for its value
    if is_exporting():  # attention must know that it has more than one cell; one more than there are is masked
        torch._check(longest >= 1)
        longest = longest + 1
    layout = Layout(owner, place, sets, longest, first)
    return Packed(together.index_select(0, order), layout)


class Block(nn.Module):
    """Pre-norm self-attention within each set, then a feed-forward layer (Xiong et al. 2020).

    Every linear layer and norm sees real tokens alone; only the attention itself lays sets out in a rectangle.

    Args:
        width: of the tokens.
        dropout: in attention and after each half.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = max(1, width // _HEAD)
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = Mlp(width, 2 * width, drop=dropout)
        for layer in (self.qkv, self.out, self.feed.fc1, self.feed.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, values: Float[Tensor, "tokens width"], layout: Layout) -> Float[Tensor, "tokens width"]:
        attended = self.out(self._attend(self.qkv(self.norm_attention(values)), layout))
        values = values + functional.dropout(attended, self.dropout, self.training)
        fed: Tensor = self.feed(self.norm_feed(values))
        return values + fed

    def _attend(self, qkv: Tensor, layout: Layout) -> Tensor:
        cell = layout.owner * layout.longest + layout.place
        cells = layout.sets * layout.longest
        laid = qkv.new_zeros(cells, qkv.shape[-1]).index_copy(0, cell, qkv)
        query, key, value = laid.view(layout.sets, layout.longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        real = torch.zeros(cells, dtype=torch.bool, device=qkv.device).index_fill(0, cell, True)
        mask = real.view(layout.sets, 1, 1, layout.longest)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, mask, dropout)
        return mixed.transpose(1, 2).reshape(cells, -1)[cell]


class Blocks(nn.Module):
    """A stack of blocks and a last norm.

    Args:
        width: of the tokens.
        layers: how many blocks.
        dropout: see `Block`.
    """

    def __init__(self, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, packed: Packed) -> Packed:
        values = packed.values
        for layer in self.layers:
            values = layer(values, packed.layout)
        return Packed(self.norm(values), packed.layout)
