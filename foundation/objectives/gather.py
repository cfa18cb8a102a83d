"""Embeddings of all processes' patients, for objectives that compare patients with one another."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from foundation.batch import Batch
from foundation.distributed import gather_rows, processes
from foundation.masks import on_host, send
from foundation.output import EncoderOutput


@dataclass
class Presence:
    """Which of the patients of all processes has what.

    Attributes:
        names: of all modalities of the encoder, as the embeddings of the processes are ordered.
        by_modality: who has it, `[patients]`; a modality that nobody has is not in it.
        rank: whose batch each is in, `[patients]`.
        local: those of this process, `[patients]`.

    All of it is on the host, where counts and positions follow from it.
    """

    names: list[str]
    by_modality: dict[str, Bool[Tensor, " patients"]]
    rank: Tensor
    local: Bool[Tensor, " patients"]


@dataclass
class Gathered:
    """Embeddings of the patients of all processes.

    Attributes:
        embeddings: by modality, `[present, width]`.
        fused: `[patients, width]`.
    """

    embeddings: dict[str, Float[Tensor, "present width"]]
    fused: Float[Tensor, "patients width"]


def gather_presence(names: list[str], output: EncoderOutput, batch: Batch) -> Presence:
    """Who has what, over all processes.

    Args:
        names: of all modalities of the encoder.
        output: of this process's batch.
        batch: of this process.
    """
    device = output.fused.device
    rank = torch.zeros(len(batch), 1, dtype=torch.long)
    if output.zero_loss is None:
        present = {name: on_host(batch.present[name]) for name in output.embeddings}
        return Presence(names, present, rank[:, 0], torch.ones(len(batch), dtype=torch.bool))
    nobody = torch.zeros(len(batch), dtype=torch.bool)
    patients = torch.stack([on_host(batch.present.get(name, nobody)) for name in names], dim=1)
    who = gather_rows(torch.cat([patients.long(), rank + dist.get_rank()], dim=1).to(device)).cpu()
    present = {name: who[:, index].bool() for index, name in enumerate(names) if who[:, index].any()}
    return Presence(names, present, who[:, -1], who[:, -1] == dist.get_rank())


def gather(presence: Presence, output: EncoderOutput, fused: Tensor) -> Gathered:
    """What all processes embedded, in one exchange.

    Args:
        presence: of their patients.
        output: of this process's batch.
        fused: `[batch, width]`, to exchange beside the modalities' embeddings.
    """
    if output.zero_loss is None:
        return Gathered(output.embeddings, fused)
    rows = gather_rows(torch.cat([fused, *(output.embeddings[n] for n in presence.names if n in output.embeddings)]))
    kinds = []  # of the rows: each process gives its fused embeddings, then those of one modality after the other
    for rank in range(processes()):
        of_rank = presence.rank == rank
        kinds.append(torch.full((int(of_rank.sum()),), -1))
        for index, name in enumerate(presence.names):
            if name in presence.by_modality:
                count = int((presence.by_modality[name] & of_rank).sum())
                kinds.append(torch.full((count,), index))
    kind = torch.cat(kinds)
    embeddings = {name: chosen(rows, kind == presence.names.index(name)) for name in presence.by_modality}
    return Gathered(embeddings, chosen(rows, kind == -1))


def chosen(rows: Float[Tensor, "all width"], which: Bool[Tensor, " all"]) -> Float[Tensor, "chosen width"]:
    """`rows[which]`, where `which` is on the host."""
    return rows.index_select(0, send(which.nonzero().squeeze(1), rows.device))
