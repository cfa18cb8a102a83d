"""Embeddings of a data set's patients by a frozen encoder."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from foundation.data.dataset import Collate, PatientDataset
from foundation.encoder import MultimodalEncoder


@dataclass
class Embedded:
    """Embeddings of a data set's patients, on the CPU in single precision.

    Attributes:
        patients: ids, in order.
        present: by modality, who has it, `[patients]`.
        embeddings: by modality, `[present, width]` of unit length.
        fused: `[patients, width]`.
    """

    patients: list[str]
    present: dict[str, Tensor]
    embeddings: dict[str, Tensor]
    fused: Tensor

    def of(self, name: str) -> tuple[NDArray[np.float32], list[str]]:
        """A modality's embeddings, or the `fused` ones, and whose they are."""
        if name == "fused":
            return self.fused.numpy(), self.patients
        who = self.present[name].tolist()
        return self.embeddings[name].numpy(), [p for p, has in zip(self.patients, who, strict=True) if has]


@torch.no_grad()
def embed(encoder: MultimodalEncoder, dataset: PatientDataset, batch_size: int = 64) -> Embedded:
    """Embeds every patient, without augmentation, in evaluation mode; the encoder's own mode is given back."""
    training = encoder.training
    encoder.eval()
    like = next(encoder.parameters())
    embeddings: dict[str, list[Tensor]] = {}
    present: dict[str, list[Tensor]] = {name: [] for name in encoder.modalities}
    fused: list[Tensor] = []
    loader: Any = DataLoader(dataset, batch_size=batch_size, collate_fn=Collate(encoder, train=False, seed=0))
    for batch in loader:
        for name, who in batch.present.items():
            present[name].append(who)
        output = encoder(batch.to(like.device).floating(like.dtype))
        for name, values in output.embeddings.items():
            embeddings.setdefault(name, []).append(values.float().cpu())
        fused.append(output.fused.float().cpu())
    encoder.train(training)
    return Embedded(
        list(dataset.patients),
        {name: torch.cat(values) for name, values in present.items()},
        {name: torch.cat(values) for name, values in embeddings.items()},
        torch.cat(fused),
    )
