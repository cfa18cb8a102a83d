"""What of a task model is exported: from patients' tensors to scores, and to the features that reliability looks at."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from finetune.predictor import TaskModel
from foundation.modalities.base import Inputs, Tokens

Weights = dict[str, Tensor]


class Core(nn.Module):
    """A task model over rows of every patient, whoever has what.

    Unlike the model itself, which is handed only what is there, every modality has a row of every patient: the program
    of any subset is one. What stands in the rows of those who lack a modality does not matter; sets have one part at
    least.

    Args:
        model: to be exported.
        modalities: of the task that its inputs hold.
    """

    def __init__(self, model: TaskModel, modalities: Sequence[str]) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.head = model.head
        self.subsets = model.subsets
        self.modalities = list(modalities)
        self._task: list[str] = list(model.task["modalities"])
        self._scores_of = model.scores_of
        read = model.reliability is not None or model.head.reads_features
        self._sizes = {name: sum(model.encoder.feature_sizes([name]).values()) for name in self._task if read}

    def forward(
        self, inputs: Mapping[str, Inputs], present: Mapping[str, Bool[Tensor, " batch"]]
    ) -> tuple[Float[Tensor, "batch outputs"], Float[Tensor, "batch features"]]:
        """Raw scores, and plain features side by side (none where nobody reads them; NaN of what a patient lacks).

        Args:
            inputs: by modality, as its `collate` makes them of all patients.
            present: by modality, who has it; everybody has something.
        """
        count = present[self.modalities[0]].shape[0]
        for name in self.modalities:
            for tensor in (present[name], *inputs[name].values()):
                torch._check(tensor.shape[0] == count)
        known = {name: self._shown(inputs[name], present[name]) for name in self.modalities}
        features = self._features(known, present)
        if self.head.reads_features:
            return self.head(features), features
        tokens = {}
        for name in self.modalities:
            values, mask = self.encoder.modalities[name](known[name])
            tokens[name] = Tokens(values, mask & present[name][:, None])
        if self.head.reads_aligned:
            fused = self._aligned(tokens, present)
        else:
            rows = torch.arange(count)
            fused = self.encoder.fusion(tokens, dict.fromkeys(tokens, rows), count)
        nobody = torch.zeros_like(present[self.modalities[0]])
        there = torch.stack([present.get(name, nobody) for name in self._task], dim=1)
        return self._scores_of(fused, there), features

    def _shown(self, inputs: Inputs, present: Tensor) -> Inputs:
        """Inputs of whose parts none is looked at where a patient lacks them: they would cost their pass."""
        return inputs | ({"mask": inputs["mask"] & present[:, None]} if "mask" in inputs else {})

    def _aligned(self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]) -> Tensor:
        """See `finetune.aligned.aligned`."""
        total = []
        for name, some in tokens.items():
            embedding = self.encoder.modalities[name].embed(some)  # type: ignore[operator]
            total.append(torch.where(present[name][:, None], embedding, torch.zeros_like(embedding)))
        return functional.normalize(torch.stack(total).sum(dim=0), dim=1)

    def _features(self, inputs: Mapping[str, Inputs], present: Mapping[str, Tensor]) -> Tensor:
        like = next(self.encoder.parameters())
        count = present[self.modalities[0]].shape[0]
        parts = [like.new_zeros(count, 0)]
        for name, size in self._sizes.items():
            if name in self.modalities:
                blocks = self.encoder.modalities[name].features(inputs[name])  # type: ignore[operator]
                values = torch.cat([block.to(like.dtype) for block in blocks.values()], dim=1)
                parts.append(torch.where(present[name][:, None], values, torch.full_like(values, torch.nan)))
            else:
                parts.append(like.new_full((count, size), torch.nan))
        return torch.cat(parts, dim=1)


class WithoutWeights(nn.Module):
    """A core that is given its weights: they stay in the safetensors files, once, and a program is small.

    Args:
        core: whose weights are taken from it.
    """

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = [core]  # in a list: as a part, its weights would be this module's own

    def forward(self, weights: Weights, inputs: dict[str, Inputs], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See `Core`; `weights` are its parameters and buffers by name."""
        result: tuple[Tensor, Tensor] = functional_call(self._core[0], weights, (inputs, present))
        return result


def rows(
    model: TaskModel, modalities: Sequence[str], patients: Sequence[Mapping[str, Inputs]]
) -> tuple[dict[str, Inputs], dict[str, Tensor]]:
    """What a program is given of some patients: inputs, and who has what.

    Args:
        model: whose transforms made the patients' tensors.
        modalities: of the program.
        patients: by modality, what each has.
    """
    inputs, present = {}, {}
    for name in modalities:
        module = model.encoder.modalities[name]
        blank = module.transform(module.blank(), None)  # type: ignore[operator]
        inputs[name] = module.collate([patient.get(name, blank) for patient in patients])  # type: ignore[operator]
        present[name] = torch.tensor([name in patient for patient in patients])
    return inputs, present
