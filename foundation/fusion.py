"""Fusion: all tokens that a patient has, through transformer blocks, to one patient embedding."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from foundation.modalities.base import Tokens


class Fusion(nn.Module):
    """A transformer over `[patient] + tokens of each present modality`; absent ones are masked, never zero vectors.

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
        config = BertConfig(
            vocab_size=1,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 32),
            intermediate_size=2 * width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.blocks = BertModel(config, add_pooling_layer=False)

    def forward(
        self,
        tokens: dict[str, Tokens],
        rows: dict[str, Int[Tensor, " present"]],
        batch: int,
        idle: dict[str, Tokens] | None = None,
    ) -> Float[Tensor, "batch width"]:
        """Fuses tokens of the present patients; `rows` says where in the batch each belongs.

        `idle` tokens belong to nobody: they pass through their modality's own parameters and count nothing.
        """
        device = self.patient.device
        first = self.patient.expand(batch, 1, -1)
        sequence, mask = [first], [torch.ones(batch, 1, dtype=torch.bool, device=device)]
        for name in self.kind:
            values, real = tokens.get(name) or (idle or {}).get(name) or (None, None)
            if values is None or real is None:
                continue
            marked = self.norm[name](values) + self.kind[name]
            if name not in tokens:
                sequence[0] = sequence[0] + 0 * marked.sum()
                continue
            sequence.append(marked.new_zeros(batch, *marked.shape[1:]).index_copy(0, rows[name], marked))
            mask.append(
                torch.zeros(batch, real.shape[1], dtype=torch.bool, device=device).index_copy(0, rows[name], real)
            )
        inputs = torch.cat(sequence, dim=1)
        # Tokens are sets: every position is the same position.
        positions = torch.zeros(inputs.shape[:2], dtype=torch.long, device=device)
        out = self.blocks(inputs_embeds=inputs, attention_mask=torch.cat(mask, dim=1).long(), position_ids=positions)
        fused: Tensor = out.last_hidden_state[:, 0]
        return fused
