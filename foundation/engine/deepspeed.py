"""DeepSpeed ZeRO through Lightning, on GPUs as Lightning does it and on CPU processes as it does not."""

import os
from typing import Any

import torch
import torch.distributed
from pytorch_lightning.strategies import DeepSpeedStrategy
from pytorch_lightning.strategies.ddp import DDPStrategy
from torch import Tensor, nn


class DeepSpeed(DeepSpeedStrategy):
    """Lightning's strategy, which refuses every accelerator but CUDA, let onto CPU processes over gloo.

    Args:
        stage: ZeRO stage.
        kwargs: as for Lightning's strategy.
    """

    def __init__(self, stage: int = 2, **kwargs: Any) -> None:
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
            kwargs.setdefault("process_group_backend", "gloo")
        super().__init__(stage=stage, **kwargs)

    def setup_environment(self) -> None:
        if torch.cuda.is_available():
            super().setup_environment()
            return
        # The grandparent's set-up, past the check of the accelerator's type.
        super(DDPStrategy, self).setup_environment()
        self.setup_distributed()

    def teardown(self) -> None:
        super().teardown()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def consolidated_state(module: nn.Module) -> dict[str, Tensor]:
    """The whole state on every process, wherever ZeRO keeps its parts.

    ZeRO-3 spreads each parameter over the processes: it is gathered one at a time, so memory holds one copy.
    """
    kept = module.state_dict().keys()  # buffers that can be derived are in no state
    state = {name: value.detach().cpu().clone() for name, value in module.named_buffers() if name in kept}
    for name, parameter in module.named_parameters():
        if hasattr(parameter, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter]):
                state[name] = parameter.detach().cpu().clone()
        else:
            state[name] = parameter.detach().cpu().clone()
    return state
