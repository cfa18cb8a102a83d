"""A batch of patients, each with whatever modalities they have: what crosses from data to model."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from foundation.masks import on_host, rows_of, send, to_device


@dataclass
class Batch:
    """Patients of one step.

    Attributes:
        patients: one id a patient, in order.
        present: by modality, `[batch]` bool: who has it.
        inputs: by modality, named tensors whose rows are the present patients alone, in batch order. What is absent
            takes no row, so it takes no compute.
        targets: by name, `[batch]` float, NaN where unknown.
        fused: `[batch, width]`, the patient embeddings where they were computed before; there are no inputs then.
    """

    patients: list[str]
    present: dict[str, Tensor]
    inputs: dict[str, dict[str, Tensor]]
    targets: dict[str, Tensor] = field(default_factory=dict)
    fused: Tensor | None = None

    def __len__(self) -> int:
        return len(self.patients)

    def rows(self, modality: str) -> Tensor:
        """Positions in the batch of the patients who have a modality: `[present]` int64, on the host."""
        return on_host(self.present[modality]).nonzero().squeeze(1)

    def split(self, size: int) -> list["Batch"]:
        """The same patients in batches of at most `size`, in order; a modality that a part lacks is not in it."""
        parts = []
        for start in range(0, len(self), size):
            turn = slice(start, start + size)
            present = {name: rows_of(who, turn) for name, who in self.present.items()}
            inputs = {}
            for name, tensors in self.inputs.items():
                before, count = int(on_host(self.present[name])[:start].sum()), int(on_host(present[name]).sum())
                if count:
                    theirs = slice(before, before + count)
                    inputs[name] = {key: rows_of(value, theirs) for key, value in tensors.items()}
            targets = {name: value[turn] for name, value in self.targets.items()}
            fused = None if self.fused is None else self.fused[turn]
            parts.append(Batch(self.patients[turn], present, inputs, targets, fused))
        return parts

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; nobody waits for copies to a GPU, and masks stay known on the host, too."""

        def move(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                name: (to_device if value.dtype == torch.bool else send)(value, device)
                for name, value in tensors.items()
            }

        return Batch(
            self.patients,
            move(self.present),
            {modality: move(tensors) for modality, tensors in self.inputs.items()},
            move(self.targets),
            None if self.fused is None else send(self.fused, device),
        )

    def floating(self, dtype: torch.dtype) -> "Batch":
        """The same batch with inputs of floating point in another precision."""
        inputs = {
            modality: {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
            for modality, tensors in self.inputs.items()
        }
        fused = None if self.fused is None else self.fused.to(dtype)
        return Batch(self.patients, self.present, inputs, self.targets, fused)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, as data loaders ask for it."""

        def pin(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.pin_memory() for name, value in tensors.items()}

        inputs = {modality: pin(tensors) for modality, tensors in self.inputs.items()}
        fused = None if self.fused is None else self.fused.pin_memory()
        return Batch(self.patients, pin(self.present), inputs, pin(self.targets), fused)
