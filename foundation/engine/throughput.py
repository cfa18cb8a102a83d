"""Throughput of a run: samples, tokens and model FLOPs a second, and their share of the device's peak."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.throughput import get_available_flops
from pytorch_lightning.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from foundation.batch import Batch
from foundation.distributed import processes

# Dense peak in bf16 of one device, in FLOP/s, from the makers' data sheets, where Lightning's table has none, counts
# sparsity, or counts two devices.
_PEAK = {"H100 NVL": 835e12, "H200 NVL": 835e12, "H200": 989e12, "L40S": 362e12, "B200": 2250e12}
# What PyTorch's counter leaves out: attention's fused kernel on the processor. Those on GPUs it knows.
_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4])
    ),
}
_COUNTED = 2  # the step whose operations are counted: the first ones compile and warm up


class Throughput(Callback):
    """Logs `speed/...` every so many steps.

    Lightning's `ThroughputMonitor` takes one number of operations for every batch; here batches differ in what their
    patients have. Operations are counted once, forward and backward, and scaled with the samples of a step from there
    on; what is computed a second time to save memory counts, too. MFU (Chowdhery et al. 2022) is logged where the
    device's peak is known or given. Under ZeRO-3 operations are not counted: the hooks that count would mix with those
    that gather weights.

    Args:
        every: steps.
        peak: of one device in FLOP/s; by the device's name if None.
    """

    def __init__(self, every: int = 10, peak: float | None = None) -> None:
        self.every = every
        self.peak = peak
        self._counter: FlopCounterMode | None = None
        self._flops_a_sample: float | None = None
        self._clear()

    def _clear(self) -> None:
        self._samples = self._tokens = self._steps = 0
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        sharded = any(hasattr(parameter, "ds_id") for parameter in pl_module.parameters())
        due = trainer.fit_loop.total_batch_idx >= _COUNTED and self._flops_a_sample is None
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        told = trainer.max_steps < 0 or left > self.every  # a short run, as a federation's round, ends before
        if due and told and self._counter is None and not sharded:
            self._counter = flop_counter()
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._flops_a_sample = self._counter.get_total_flops() / max(1, len(batch))
            self._counter = None
            self._clear()  # counting is slow
            return
        self._samples += len(batch)
        self._tokens += count_tokens(pl_module.encoder, batch)
        self._steps += 1
        if self._steps >= self.every:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            speed = self._speed(time.perf_counter() - self._since, pl_module.device)
            for logger in trainer.loggers:
                logger.log_metrics(speed, step=trainer.global_step)
            self._clear()

    def _speed(self, seconds: float, device: torch.device) -> dict[str, float]:
        together = processes()
        speed = {
            "speed/samples_per_second": together * self._samples / seconds,
            "speed/tokens_per_second": together * self._tokens / seconds,
            "speed/step_seconds": seconds / self._steps,
        }
        if self._flops_a_sample is not None:
            each = self._flops_a_sample * self._samples / seconds
            speed["speed/model_flops_per_second"] = together * each
            self.peak = self.peak or device_peak(device)
            if self.peak:
                speed["speed/mfu"] = each / self.peak
        return speed


def flop_counter() -> FlopCounterMode:
    """Counts the operations of matrix products, convolutions and attention while it is entered."""
    return FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)


def count_tokens(encoder: Any, batch: Batch) -> int:
    """Tokens that the modalities' encoders read: images, word pieces, columns, and the tokens that genes become."""
    return sum(encoder.modalities[name].count_tokens(inputs) for name, inputs in batch.inputs.items())


def device_peak(device: torch.device) -> float | None:
    """Dense bf16 peak of one device in FLOP/s; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    dense = next((peak for known, peak in _PEAK.items() if known in name), None)
    return dense or get_available_flops(device, torch.bfloat16)
