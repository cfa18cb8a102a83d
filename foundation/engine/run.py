"""One training run, whatever a stage trains and on however many processes: guarded, watched, resumed, consolidated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from foundation.command import plain
from foundation.data.dataset import CohortModule
from foundation.engine.average import Average
from foundation.engine.best import KeepBest
from foundation.engine.callbacks import Finite
from foundation.engine.deepspeed import KeepState
from foundation.engine.module import TrainingModule
from foundation.engine.profile import Profile
from foundation.engine.throughput import Throughput
from foundation.engine.trainer import SeedSteps, build_trainer, quiet, seeded
from foundation.errors import UserError
from foundation.tensors import read_tensors


@dataclass(frozen=True)
class RunSettings:
    """What every training run can be told; `configs/run.yaml` says it for all commands.

    Attributes:
        trainer: of the config group `trainer`.
        output: for logs and checkpoints.
        steps: of the optimiser.
        seed: of dropout and all else that a step draws.
        validate_every: steps between validations; 0 for none.
        checkpoint_every: steps between checkpoints; 0 writes none.
        keep_checkpoints: how many of the latest stay.
        patience: validations without a better one after which training ends; None trains to the last step.
        loggers: see `foundation.engine.loggers`.
        ema: decay of an exponential mean of the weights; None keeps none.
        compile: `torch.compile`'s settings for the backbones; None does not compile.
        profile: early steps to watch.
        speed_every: steps between measurements of speed; 0 for none.
        progress: whether to draw the bar.
    """

    trainer: DictConfig
    output: Path
    steps: int
    seed: int
    validate_every: int
    checkpoint_every: int
    keep_checkpoints: int
    patience: int | None
    loggers: Sequence[str]
    ema: float | None
    compile: dict[str, Any] | None
    profile: int
    speed_every: int
    progress: bool

    @classmethod
    def read(cls, cfg: DictConfig, output: Path, steps: int) -> "RunSettings":
        """Those of a command's resolved config.

        Raises:
            UserError: naming a setting that cannot be.
        """
        if cfg.patience is not None and cfg.patience < 1:
            raise UserError(f"patience: found {cfg.patience}; give validations, at least 1, or null")
        return cls(
            cfg.trainer,
            output,
            steps,
            cfg.seed,
            cfg.validate_every,
            cfg.checkpoint_every,
            cfg.keep_checkpoints,
            cfg.patience,
            list(cfg.loggers),
            cfg.ema,
            None if cfg.compile is None else plain(cfg.compile),
            cfg.profile,
            cfg.speed_every,
            cfg.progress,
        )


@dataclass(frozen=True)
class Criterion:
    """By what a validation is better than another.

    Attributes:
        metric: as it is logged.
        larger: whether more is better.
        wanted: which weights are kept of the best one, by name.
    """

    metric: str = "validation/loss"
    larger: bool = False
    wanted: Callable[[str], bool] = lambda name: True


@dataclass(frozen=True)
class Trained:
    """What a run gave back, the same whatever trainer it had.

    Attributes:
        state: whole weights after the last step, by name, on the CPU.
        metrics: what was logged last.
        best: the best validation, its weights in a file; None where nothing was validated.
    """

    state: dict[str, Tensor]
    metrics: dict[str, float]
    best: KeepBest | None

    def best_state(self) -> dict[str, Tensor]:
        """The weights of the best validation, over those of the last step where it kept none."""
        if self.best is None or self.best.value is None:
            return self.state
        return self.state | read_tensors(self.best.path, "train again")


def train(
    module: TrainingModule,
    data: CohortModule,
    settings: RunSettings,
    resume: Path | None = None,
    criterion: Criterion | None = None,
    masters: Mapping[str, Tensor] | None = None,
    callbacks: Sequence[Callback] = (),
    batches: int = 0,
) -> Trained:
    """Trains a module; on several processes each calls it, and each gets the result.

    Args:
        module: with its weights in place.
        data: training and validation batches.
        settings: of the run.
        resume: a checkpoint to go on from exactly (`foundation.engine.checkpoints`).
        criterion: of the best validation; the lowest loss if None.
        masters: see `KeepState`.
        callbacks: of the stage.
        batches: that an earlier training of the same run took.
    """
    criterion = criterion or Criterion()
    validate_every = settings.validate_every if len(data.validation) else 0
    module.finite = Finite(settings.output)
    path = settings.output / "checkpoints" / "best.safetensors"
    best = KeepBest(path, criterion.metric, criterion.larger, settings.patience, criterion.wanted)
    kept = KeepState(masters)
    # In this order: the best weights are written while the mean is in place, and the mean is in place when all is kept.
    watching: list[Callback] = [best] if validate_every else []
    watching += [] if settings.ema is None else [Average(settings.ema)]
    watching += [kept, *callbacks, SeedSteps(settings.seed, batches)]
    watching += [Throughput(settings.speed_every)] if settings.speed_every else []
    watching += [Profile(settings.output, settings.profile)] if settings.profile else []
    if settings.compile is not None:
        module.encoder.compile_backbones(**settings.compile)
    trainer = build_trainer(
        settings.trainer,
        settings.output,
        settings.steps,
        validate_every,
        settings.checkpoint_every,
        settings.progress,
        watching,
        settings.keep_checkpoints,
        settings.loggers,
        resume,
    )
    with seeded(settings.seed), quiet():
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False if resume else None)
    metrics = {name: float(value) for name, value in trainer.logged_metrics.items()}
    return Trained(kept.state, metrics, best if validate_every else None)
