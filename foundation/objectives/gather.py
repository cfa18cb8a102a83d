"""The embeddings of all processes' patients, for objectives that compare patients with one another."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from foundation.batch import Batch
from foundation.output import EncoderOutput
from foundation.processes import gather_rows


@dataclass
class Together:
    """Embeddings of the patients of all processes.

    Attributes:
        present: by modality, who has it, `[patients]`.
        embeddings: by modality, `[present, width]`.
        fused: `[patients, width]`.
        own: whose batch is this process's, `[patients]`.
    """

    present: dict[str, Bool[Tensor, " patients"]]
    embeddings: dict[str, Float[Tensor, "present width"]]
    fused: Float[Tensor, "patients width"]
    own: Bool[Tensor, " patients"]


def gather(names: list[str], output: EncoderOutput, batch: Batch, fused: Tensor) -> Together:
    """What all processes embedded, in one exchange; a modality that none has is not in it.

    Args:
        names: of all modalities of the encoder.
        output: of this process's batch.
        batch: of this process.
        fused: `[batch, width]`, to exchange beside the modalities' embeddings.
    """
    device = fused.device
    if output.tie is None:
        own = torch.ones(len(batch), dtype=torch.bool, device=device)
        return Together({name: batch.present[name] for name in output.embeddings}, output.embeddings, fused, own)
    held = [name for name in names if name in output.embeddings]
    # A part of the graph even where this process has no rows to give.
    rows = torch.cat([fused + output.tie.sum(), *(output.embeddings[name] for name in held)])
    nobody = torch.zeros(len(batch), dtype=torch.bool, device=device)
    kinds = [torch.full((len(batch),), -1), *(torch.full((len(output.embeddings[n]),), names.index(n)) for n in held)]
    described = torch.cat(kinds)[:, None].to(device)
    patients = torch.stack([batch.present.get(name, nobody) for name in names], dim=1)
    rank = torch.full((len(batch), 1), dist.get_rank(), device=device)
    everything = gather_rows(rows)
    kind = gather_rows(described)[:, 0]
    who = gather_rows(torch.cat([patients.long(), rank], dim=1))
    present = {name: who[:, index].bool() for index, name in enumerate(names) if who[:, index].any()}
    embeddings = {name: everything[kind == names.index(name)] for name in present}
    return Together(present, embeddings, everything[kind == -1], who[:, -1] == dist.get_rank())
