"""Consistency: a patient seen with one modality less is still that patient."""

import torch
from torch import Tensor
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.masks import on_host
from foundation.modalities.base import Tokens
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput


class Consistency(Objective):
    """One minus the cosine of the fused embedding without one modality, drawn a patient, and the one with all.

    The embedding with all is the teacher and gets no gradient (as in SimSiam, Chen and He 2021). A constant would
    satisfy this by itself: it goes with `Alignment`, which no constant satisfies.

    Args:
        width: of the embeddings; not used.
    """

    def __init__(self, width: int) -> None:
        super().__init__()

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Tensor | None:
        present = torch.stack([batch.present[name] for name in output.tokens])
        several = present.sum(dim=0) > 1
        return several if several.any() else None

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Tensor) -> Term:
        names = list(output.tokens)
        present = torch.stack([batch.present[name] for name in names])
        chance = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
        dropped = functional.one_hot(chance.argmax(dim=0), len(names)).T.bool() & selected
        tokens: dict[str, Tokens] = {}
        rows: dict[str, Tensor] = {}
        for name, out in zip(names, dropped, strict=True):
            kept = ~out[batch.present[name]]
            values, mask = output.tokens[name]
            tokens[name], rows[name] = Tokens(values[kept], mask[kept]), batch.rows(name)[on_host(kept)]
        fewer = encoder.fusion(tokens, rows, len(batch), output.placeholder_tokens)
        cosine = functional.cosine_similarity(fewer[selected].float(), output.fused[selected].detach().float())
        trained = (selected & present & ~dropped).sum(dim=1).tolist()
        samples = {"fusion": int(selected.sum())} | {name: n for name, n in zip(names, trained, strict=True) if n}
        return Term((1 - cosine).mean(), samples, int(selected.sum()))
