"""Embeddings and scores of a site's patients, as at evaluation: nothing augmented, everything shown."""

from pathlib import Path

import torch
from torch import Tensor

from finetune.embeddings import EmbeddingTable, digest_of_embeddings, encode
from finetune.federated.module import FederatedModule
from finetune.heads.base import Targets
from foundation.data.dataset import PatientDataset

_SIZE = 32  # patients at a time


def embeddings(module: FederatedModule, part: PatientDataset, folder: Path | None) -> Tensor:
    """Patient embeddings `[patients, width]` in evaluation mode; with gradients where the encoder learns.

    Args:
        module: whose encoder makes them.
        part: patients.
        folder: of the site's own, where those of a frozen encoder are kept by digest; None keeps none.
    """
    keys = [(patient, tuple(part.modalities_of(patient))) for patient in part.patients]
    if not keys:
        return torch.zeros(0, module.encoder.width)
    if not module.frozen:
        module.encoder.eval()
        starts = range(0, len(keys), _SIZE)
        samples = [[part.sample(patient) for patient, _ in keys[start : start + _SIZE]] for start in starts]
        return torch.cat([module.encoder(module.encoder.encode_samples(some)).fused for some in samples])
    if folder is None:
        made = encode(module.encoder, [part], keys, _SIZE)
        return torch.stack([made[key] for key in keys])
    table = EmbeddingTable(folder / digest_of_embeddings(module.encoder, [part]))
    missing = [key for key in keys if key not in table.rows]
    if missing:
        table.add(encode(module.encoder, [part], missing, _SIZE))
        table.write()
    return table.values[[table.rows[key] for key in keys]]


def targets_of(part: PatientDataset) -> Targets:
    """Targets, `[patients]` each."""
    rows = [part.targets_of(patient) for patient in part.patients]
    return {name: torch.tensor([row[name] for row in rows]) for name in part.targets}


def scores(module: FederatedModule, part: PatientDataset, folder: Path | None) -> Tensor:
    """Raw scores `[patients, outputs]` of the head in evaluation mode."""
    module.head.eval()
    with module.encoder.looking_at_all():  # as whoever predicts with it will
        output: Tensor = module.head(embeddings(module, part, folder))
    return output
