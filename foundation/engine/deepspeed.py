"""DeepSpeed ZeRO through Lightning, on GPUs as Lightning does it and on CPU processes as it does not."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.precision import DeepSpeedPrecision
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy
from pytorch_lightning.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.engine.extension_locks import watched_locks
from foundation.engine.extension_tools import find_tools

_KEPT_BUFFERS = ["expression_mean", "expression_variance", "seen"]  # running moments of genomics, in raw units


class KeepState(Callback):
    """Takes the whole state while the processes are still together: after `fit`, ZeRO's parts are gone.

    Args:
        masters: by name, weights to begin from in the single precision that DeepSpeed's optimiser keeps beside those of
            the model, and to give back in: in bf16, small steps would else be lost to rounding from round to round.
            Not for one-process trainers, which keep none. None leaves them alone.

    Attributes:
        state: by name, after training, on the CPU.
    """

    def __init__(self, masters: Mapping[str, Tensor] | None = None) -> None:
        self.masters = masters
        self.state: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.masters is not None and isinstance(trainer.strategy, DeepSpeedStrategy):
            set_masters(pl_module, self.masters)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Killed after its last step: Lightning will not train, and will tell no callback of an end.
        if trainer.should_stop or checkpoint["global_step"] >= trainer.max_steps:
            self.state = whole_state(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.state = whole_state(trainer, pl_module)
        if self.masters is not None and isinstance(trainer.strategy, DeepSpeedStrategy):
            self.state |= master_state(pl_module)


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
        self.precision_plugin = _InputPrecision(self.precision_plugin.precision)  # type: ignore[arg-type]
        with self._building():
            if torch.cuda.is_available():
                super().setup_environment()
                return
            find_tools()
            # DeepSpeed matches devices to local ranks by index, which CPU devices lack.
            self.parallel_devices = [torch.device("cpu", index) for index in range(len(self.parallel_devices or []))]
            # The grandparent's set-up, past the check of the accelerator's type.
            super(DDPStrategy, self).setup_environment()
            self.setup_distributed()

    def _building(self) -> AbstractContextManager[None]:
        """Around what may build DeepSpeed's extensions."""
        return watched_locks() if self.local_rank == 0 else nullcontext()

    def init_deepspeed(self) -> None:
        if isinstance(self.config, dict):
            # PyTorch's fused AdamW runs vectorised on the host, too, and needs no compiler on the machine.
            self.config["zero_force_ds_cpu_optimizer"] = False
        if "bf16" in str(self.precision_plugin.precision) and isinstance(self.config, dict):
            # DeepSpeed casts parameters and leaves buffers, but batch norm takes no mixture of the two.
            self.config["data_types"] = {"buffer_dtype": "bf16", "keep_in_fp32_modules": _KEPT_BUFFERS}
        with self._building():
            super().init_deepspeed()

    def pre_backward(self, closure_loss: Tensor) -> None:
        super().pre_backward(closure_loss)
        zero: Any = self.deepspeed_engine.optimizer
        # ZeRO-3 would step weights that no process uses in this step by the gradient of the last step that used them.
        if getattr(zero, "grad_partitions_flat_buffer", None) is not None and zero.micro_step_id == 0:
            zero.grad_partitions_flat_buffer.zero_()
            for part in zero.fp32_partitioned_groups_flat:
                if part.grad is not None:  # kept where it is offloaded
                    part.grad.zero_()

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        with self._whole_weights():
            return super().validation_step(*args, **kwargs)

    @contextmanager
    def _whole_weights(self) -> Iterator[None]:
        """ZeRO-3's weights in one piece on every process, and none fetched or released by what passes through them.

        Processes that train are in lockstep; in validation each runs the modules of its own patients, and those that
        one fetches, another does not.
        """
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters, ZeroParamStatus

        zero: Any = self.deepspeed_engine.optimizer
        offload = getattr(zero, "parameter_offload", None)
        if offload is None:
            yield
            return
        parts: list[Any] = [part for part in self.deepspeed_engine.module.parameters() if hasattr(part, "ds_id")]
        for part in parts:  # small ones lie in one piece already, and must be asked for on all processes or on none
            if part.ds_status == ZeroParamStatus.AVAILABLE:
                part.partition()
        with GatheredParameters(parts):
            offload._remove_module_hooks()
            offload.forward_hooks.clear()  # it would keep those that are gone
            offload.backward_hooks.clear()
            try:
                yield
            finally:
                offload.setup_zero_stage3_hooks()

    def teardown(self) -> None:
        super().teardown()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class _InputPrecision(DeepSpeedPrecision):
    """Inputs in the model's precision, targets as they are: in bf16 a thousand days are known to within four."""

    def convert_input(self, data: Any) -> Any:
        return data.floating(self._desired_dtype) if isinstance(data, Batch) else super().convert_input(data)


def whole_state(
    trainer: Trainer, module: LightningModule, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    """The whole state of a module in training, on the CPU of every process; all of them call it.

    Args:
        trainer: that trains it.
        module: with weights in one piece or in parts.
        wanted: which weights, by name.
    """
    if isinstance(trainer.strategy, FSDPStrategy):
        state = trainer.strategy.lightning_module_state_dict()
        return {name: value.cpu() for name, value in state.items() if wanted(name)}
    return consolidated_state(module, wanted)


def consolidated_state(module: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The whole state on every process, wherever ZeRO keeps its parts.

    ZeRO-3 spreads each parameter over the processes: it is gathered one at a time, so memory holds one copy.
    """
    kept = {name for name in module.state_dict() if wanted(name)}  # buffers that can be derived are in no state
    state = {name: value.detach().cpu().clone() for name, value in module.named_buffers() if name in kept}
    for name, parameter in module.named_parameters():
        if not wanted(name):
            continue
        if hasattr(parameter, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter]):
                state[name] = parameter.detach().cpu().clone()
        else:
            state[name] = parameter.detach().cpu().clone()
    return state


def set_masters(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives DeepSpeed's optimiser weights in single precision, which it would else make from those in bf16.

    Buffers that stay in single precision are set likewise.
    """
    for name, buffer in module.named_buffers():
        if (
            name in weights and buffer.dtype == torch.float32
        ):  # a module cast to bf16 and back has lost its moments' bits
            buffer.copy_(weights[name])
    for name, parameter in _with_masters(module):
        value = weights[name].float().to(parameter.device)
        if hasattr(parameter, "ds_id"):
            size = parameter.ds_tensor.numel()  # ZeRO-3 pads the last process's part
            start = torch.distributed.get_rank() * size
            part = value.flatten()[start : start + size]
            value = nn.functional.pad(part, (0, size - part.numel()))
        set_master(parameter, value)


def set_master(parameter: nn.Parameter, part: Tensor) -> None:
    """Sets what DeepSpeed's optimiser keeps of a parameter in single precision.

    Args:
        parameter: of a module in training.
        part: all of it, or under ZeRO-3 this process's part.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

    (safe_set_local_fp32_param if hasattr(parameter, "ds_id") else safe_set_full_fp32_param)(parameter, part)


def set_part(parameter: Any, part: Tensor) -> None:
    """Sets a parameter in place between two steps; under ZeRO-3 this process's part of it, as all processes do."""
    if not hasattr(parameter, "ds_id"):
        parameter.data.copy_(part)
        return
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    parameter.ds_tensor.data.copy_(part)
    if parameter.ds_status == ZeroParamStatus.AVAILABLE:  # a small one, of which each process has a whole copy
        parameter.partition()


def master_state(module: nn.Module) -> dict[str, Tensor]:
    """The weights in single precision that DeepSpeed's optimiser keeps, on the CPU of every process."""
    from deepspeed.utils import safe_get_full_fp32_param

    return {name: safe_get_full_fp32_param(parameter).cpu() for name, parameter in _with_masters(module)}


def _with_masters(module: nn.Module) -> list[tuple[str, Any]]:
    return [
        (name, parameter)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.dtype != torch.float32
    ]
