"""The optimiser's state, and the position in the data, kept from one round of training to the next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor

from foundation.data.dataset import CohortModule
from foundation.data.loader import PatientLoader
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.tensors import read_tensors, write_tensors

_FILE = "training.json"
_ADVICE = "remove its folder to begin with a fresh optimiser"


@dataclass(frozen=True)
class OptimizerState:
    """Folders to go on from and to write to; JSON and safetensors, no pickle.

    Attributes:
        before: written by an earlier training; None begins anew.
        after: written at the end of this one; it must be there.
    """

    before: Path | None
    after: Path

    def position(self) -> tuple[int, dict[str, int] | None]:
        """How many batches were given out so far, and the loader's own position."""
        if self.before is None:
            return 0, None
        content = read_training(self.before)
        return content["batches"], content["data"]


def read_training(folder: Path) -> dict[str, Any]:
    """What an earlier training left.

    Raises:
        UserError: if the file is missing or damaged.
    """
    return read_json(folder / _FILE, _ADVICE)


class ContinuedCohort(CohortModule):
    """A cohort's batches from a position on.

    Attributes:
        start: the position, as `PatientLoader` gives it; the beginning if None.
        loader: of the training batches, once there is one.
    """

    start: dict[str, int] | None = None
    loader: PatientLoader

    def train_dataloader(self) -> PatientLoader:
        self.loader = super().train_dataloader()
        if self.start is not None:
            self.loader.load_state_dict(self.start)
        return self.loader


class KeepOptimizer(Callback):
    """Puts the optimiser's state back before the first step, and writes it after the last one.

    Under DeepSpeed each process keeps its own part, so the next round needs the same stage and number of processes. The
    position in the data is kept beside it.

    Args:
        state: where from and where to.
        data: that the training takes.
    """

    def __init__(self, state: OptimizerState, data: ContinuedCohort) -> None:
        self.state = state
        self.data = data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        layout = layout_of(trainer)
        if self.state.before is None:
            return
        kept = read_training(self.state.before)
        if kept["layout"] != layout:
            raise UserError(
                f"{self.state.before}: the optimiser's state was kept by {kept['layout']}, this round trains with "
                f"{layout}; set the site's trainer back, or remove the folder to begin with a fresh optimiser"
            )
        rank = trainer.global_rank if layout.startswith("DeepSpeed") else 0
        tensors = read_tensors(self.state.before / f"rank_{rank}.safetensors", _ADVICE)
        optimizer, parameters = _flat_parts(trainer) if layout.startswith("DeepSpeed") else _named(trainer, pl_module)
        for name, parameter in parameters.items():
            state = {
                key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")
            }
            if state:
                # `step` stays where it is: PyTorch keeps it on the CPU unless the optimiser is fused.
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if value.ndim or _fused(optimizer) else value
                    for key, value in state.items()
                }

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        turns = self.data.loader.turns
        fetcher = trainer.fit_loop._data_fetcher
        if trainer.current_epoch == 0 and turns.left and fetcher is not None:
            # The last batch of an epoch ends a step even where gradients of more were to add up, so Lightning must know
            # which one it is when training begins in the middle.
            fetcher.fetched += -(-turns.taken // (turns.batch_size * turns.ranks))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        layout = layout_of(trainer)
        sharded = layout.startswith("DeepSpeed")
        optimizer, parameters = _flat_parts(trainer) if sharded else _named(trainer, pl_module)
        if sharded or trainer.global_rank == 0:
            tensors = {
                f"{name}/{key}": value.cpu().clone()  # parts of one storage, where DeepSpeed keeps them
                for name, parameter in parameters.items()
                for key, value in optimizer.state.get(parameter, {}).items()
                if isinstance(value, Tensor)
            }
            write_tensors(self.state.after / f"rank_{trainer.global_rank}.safetensors", tensors)
        if trainer.global_rank == 0:
            batches = self.state.position()[0] + trainer.fit_loop.total_batch_idx + 1
            content = {"layout": layout, "batches": batches, "data": self.data.loader.state_dict()}
            write_json(self.state.after / _FILE, content)


def layout_of(trainer: Trainer) -> str:
    """Who keeps which part of the optimiser's state, in words.

    Raises:
        UserError: if it cannot be kept.
    """
    strategy = trainer.strategy
    kind = type(trainer.optimizers[0]).__name__
    if isinstance(strategy, FSDPStrategy):
        raise UserError("trainer.strategy: under FSDP the optimiser's state cannot stay at the site; use ddp or ZeRO")
    if isinstance(strategy, DeepSpeedStrategy):
        zero: Any = strategy.deepspeed_engine.optimizer
        stage = strategy.deepspeed_engine.zero_optimization_stage()
        return f"DeepSpeed ZeRO-{stage} with {type(zero.optimizer).__name__} on {trainer.world_size} processes"
    return f"whole parameters with {kind}"


def _named(trainer: Trainer, module: LightningModule) -> tuple[Any, dict[str, Tensor]]:
    return trainer.optimizers[0], {name: value for name, value in module.named_parameters() if value.requires_grad}


def _flat_parts(trainer: Trainer) -> tuple[Any, dict[str, Tensor]]:
    """DeepSpeed's inner optimiser and this process's flat parts of the weights, which it steps."""
    strategy = trainer.strategy
    assert isinstance(strategy, DeepSpeedStrategy)
    zero: Any = strategy.deepspeed_engine.optimizer
    for attribute in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
        if hasattr(zero, attribute):
            return zero.optimizer, {str(index): part for index, part in enumerate(getattr(zero, attribute))}
    raise UserError(f"trainer.strategy: {type(zero).__name__} keeps no parts that this release knows; use ZeRO-1 to -3")


def _fused(optimizer: Any) -> bool:
    return any(bool(group.get("fused")) for group in optimizer.param_groups)
