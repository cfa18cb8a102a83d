"""LoRA increments: what new patients change of the encoder is a low-rank addition to its fusion (Hu et al. 2022)."""

from pathlib import Path
from typing import Any, ClassVar

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import nn

from finetune.learning.base import Learning
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.tensors import write_tensors

FILE = "increment.safetensors"


class Lora(Learning):
    """Adapters in every linear layer of the fusion, and the head; all else of the encoder stays as it was released.

    At the end they are added into the layers, so that the encoder is a portable folder like any; what was added lies
    beside it (`increment.safetensors`, by layer), and taken off gives the release's encoder again.

    Args:
        rank: of the adapters.
        learning_rate: of theirs, at its peak.

    Raises:
        UserError: if a setting cannot be.
    """

    frozen: ClassVar[bool | None] = False
    still: ClassVar[bool] = True

    def __init__(self, rank: int = 4, learning_rate: float = 1e-3) -> None:
        if rank < 1 or not learning_rate > 0:
            raise UserError(
                f"learning: found rank={rank}, learning_rate={learning_rate}; give a count and a number above 0"
            )
        self.rank = rank
        self.learning_rate = learning_rate

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        module.encoder_learning_rate = self.learning_rate
        module.encoder.requires_grad_(False)
        fusion = module.encoder.fusion
        targets = [name for name, layer in fusion.named_modules() if isinstance(layer, nn.Linear)]
        inject_adapter_in_model(LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=targets), fusion)

    def end(self, module: FinetuneModule, output: Path) -> None:
        increment: dict[str, Any] = {}
        fusion = module.encoder.fusion
        adapted = [(name, layer) for name, layer in fusion.named_modules() if isinstance(layer, Linear)]
        for name, layer in adapted:
            increment[f"fusion.{name}.weight"] = layer.get_delta_weight("default").detach()
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(fusion.get_submodule(parent), child, layer.get_base_layer())
        write_tensors(output / FILE, increment)
