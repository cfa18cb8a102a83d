"""Genomics: expression, mutations and copy number by gene symbol."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foundation.data.dictionary import DataDictionary
from foundation.distributed import gather_rows, several_processes
from foundation.errors import UserError
from foundation.masks import to_device
from foundation.modalities.base import Examined, Inputs, Modality, Tokens, Views
from foundation.modalities.genomics.extremes import without_extremes
from foundation.modalities.genomics.moments import FINAL
from foundation.modalities.genomics.request import GenesForm
from foundation.modalities.genomics.storage import CHANNELS, Channels, hide_genes

_MOMENTUM = 0.1


class Genomics(Modality):
    """Latent queries attend over genes; a gene is its own embedding plus what was measured of it.

    Attention goes by gene identity and carries values linearly (as Perceiver's first cross-attention, Jaegle et al.
    2021), so cost grows with genes, not with their square, and order never matters.

    Args:
        width: of the tokens.
        genes: symbols, one a position of every channel.
        latents: tokens made a patient.
        mask_ratio: share of measured expression values hidden in training, for masked gene modelling.
        pooling: of the tokens to the embedding, `gated` or `transformer`.
    """

    name = "genomics"
    parts = "genes"
    expression_mean: Tensor
    expression_variance: Tensor
    seen: Tensor

    def __init__(
        self, width: int, genes: list[str], latents: int = 4, mask_ratio: float = 0.2, pooling: str = "gated"
    ) -> None:
        super().__init__(width, pooling)
        self.genes = list(genes)
        self.latents = latents
        self.mask_ratio = mask_ratio
        self.gene = nn.Parameter(torch.randn(len(genes), width) * width**-0.5)
        self.effect = nn.Parameter(torch.randn(len(CHANNELS), len(genes), width) * width**-0.5)
        self.query = nn.Parameter(torch.randn(latents, width) * width**-0.5)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        # Expression is standardised a gene by running moments, which travel like weights: units and platforms differ.
        self.register_buffer("expression_mean", torch.zeros(len(genes)))
        self.register_buffer("expression_variance", torch.ones(len(genes)))
        self.register_buffer("seen", torch.zeros(1))

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        return {"genes": list(dictionary.genes)}

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"latents": self.latents, "mask_ratio": self.mask_ratio}

    def check_cohort(self, dictionary: DataDictionary, cohort: str) -> None:
        if self.genes != dictionary.genes:
            raise UserError(
                f"encoder: it knows {len(self.genes)} genes, cohort {cohort} has {len(dictionary.genes)} in another "
                "list; prepare the cohort with the dictionary that the encoder was pretrained on"
            )

    def request_form(self, dictionary: DataDictionary) -> GenesForm:
        return GenesForm(genes=self.genes, unit=dictionary.expression_unit)

    def hide(self, raw: Channels, hidden: dict[str, list[str]]) -> Channels | None:
        return hide_genes(raw, self.genes, hidden)

    def transform(self, raw: Channels, generator: torch.Generator | None) -> Inputs:
        """Channels `[genes]` float32 with NaN where not measured; `masked` marks hidden expression values."""
        values = torch.stack([torch.from_numpy(np.array(raw[channel], dtype=np.float32)) for channel in CHANNELS])
        masked = torch.zeros(len(self.genes), dtype=torch.bool)
        if generator is not None:
            masked = torch.rand(len(self.genes), generator=generator) < self.mask_ratio
        return {"values": values, "masked": masked & ~values[0].isnan()}

    def examined(self, raw: Channels, inputs: Inputs) -> Examined:
        """Genes of which anything was measured."""
        count = int((~inputs["values"].isnan()).any(dim=0).sum())
        return Examined(self.parts, count, count)

    def blank(self) -> Channels:
        return {channel: np.full(len(self.genes), np.nan, dtype=np.float32) for channel in CHANNELS}

    def count_tokens(self, inputs: Inputs) -> int:
        return self.latents * len(inputs["values"])

    def observe(self, inputs: Inputs | None) -> None:
        if inputs is None and not several_processes():
            return
        like = self.expression_mean
        expression = inputs["values"][:, 0].to(like.dtype) if inputs is not None else like.new_zeros(0, len(like))
        self._update_moments(expression.detach())

    def standardise(self, expression: Float[Tensor, "present genes"]) -> Float[Tensor, "present genes"]:
        """Expression in units of its running spread a gene; NaN stays NaN."""
        return ((expression - self.expression_mean) / (self.expression_variance + 1e-3).sqrt()).clamp(-6, 6)

    @torch.no_grad()
    def _update_moments(self, expression: Float[Tensor, "present genes"]) -> None:
        expression = without_extremes(gather_rows(expression))  # extreme among all processes' patients, as on one
        known = ~expression.isnan()
        count = known.sum(dim=0)
        enough = len(expression) > 1
        mean = expression.nan_to_num().float().sum(dim=0) / count.clamp(min=1)
        squares = ((expression - mean).nan_to_num() ** 2).sum(dim=0)
        variance = squares / (count - 1).clamp(min=1)
        self.seen += enough
        momentum = torch.maximum(1 / self.seen.clamp(min=1), torch.full_like(self.seen, _MOMENTUM))
        moving = (count > 1) & enough & (self.seen < FINAL)
        rate = torch.where(moving, momentum, torch.zeros_like(mean))
        self.expression_mean += rate * (mean - self.expression_mean)
        self.expression_variance += rate * (variance - self.expression_variance)

    def forward(self, inputs: Inputs) -> Tokens:
        values = inputs["values"]
        expression = self.standardise(values[:, 0])
        channels = torch.stack([expression, values[:, 1], values[:, 2]], dim=1).to(self.effect.dtype)
        known: Bool[Tensor, "present channels genes"] = ~channels.isnan()
        known[:, 0] &= ~inputs["masked"]
        channels = torch.where(known, channels, torch.zeros_like(channels))
        reach = self.reach(known.any(dim=1))
        score = self.query @ self.gene.T * self.width**-0.5
        score = score[None].masked_fill(~reach, float("-inf"))
        weight = score.softmax(dim=-1).nan_to_num()  # nobody reachable: an all-masked patient attends to nothing
        genes = len(self.genes)
        identity = weight @ self.gene
        # A weighted mean of many small effects would vanish with the number of genes; the root keeps its spread.
        measured = torch.einsum("nlg,ncg,cgd->nld", weight * genes**0.5, channels, self.effect)
        latent = identity + measured
        latent = latent + self.feed(latent)
        return Tokens(latent, self.token_mask(reach.expand(latent.shape[0], self.latents, -1)))

    def reach(self, known: Bool[Tensor, "present genes"]) -> Bool[Tensor, "present latents genes"]:
        """Which genes each token may attend to; `latents` is 1 where it is the same for all."""
        return known[:, None]

    def token_mask(self, reach: Bool[Tensor, "present latents genes"]) -> Bool[Tensor, "present latents"]:
        """Which tokens are real: here all, for each learns to attend somewhere."""
        return to_device(torch.ones(reach.shape[:2], dtype=torch.bool), reach.device)

    def feature_sizes(self) -> dict[str, int]:
        return {f"{self.name}.{channel}": len(self.genes) for channel in CHANNELS}

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present genes"]]:
        """Each channel as it was measured."""
        return dict(zip(self.feature_sizes(), inputs["values"].unbind(dim=1), strict=True))

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of the genes: what was measured of a gene is in one view alone."""
        values = inputs["values"]
        half = torch.rand(len(values), 1, len(self.genes), device=values.device) < 0.5
        parts = [values.masked_fill(~seen, float("nan")) for seen in (half, ~half)]
        known = [~part.isnan() for part in parts]
        for part in known:
            part[:, 0] &= ~inputs["masked"]
        who = known[0].flatten(1).any(dim=1) & known[1].flatten(1).any(dim=1)
        one, other = (self({"values": part[who], "masked": inputs["masked"][who]}) for part in parts)
        return Views(one, other, who)

    def save_assets(self, folder: Path) -> None:
        (folder / "genes.txt").write_text("\n".join(self.genes) + "\n")

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Genomics":
        return cls(genes=(folder / "genes.txt").read_text().split(), **settings)
