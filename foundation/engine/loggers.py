"""Loggers of a run's curves, by config, all of them on this machine."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from foundation.errors import UserError

KINDS = ("tensorboard", "csv", "mlflow", "wandb")


def build_loggers(kinds: Sequence[str], output: Path) -> list[Logger]:
    """Loggers that write into a run's folder; MLflow into a local SQLite store, Weights & Biases offline.

    Raises:
        UserError: if there is no such logger, or it is not installed.
    """
    return [_build(kind, output) for kind in kinds]


def _build(kind: str, output: Path) -> Logger:
    try:
        match kind:
            case "tensorboard":
                return TensorBoardLogger(str(output), name="tensorboard", version="")
            case "csv":
                return CSVLogger(str(output), name="csv", version="")
            case "mlflow":
                output.mkdir(parents=True, exist_ok=True)
                store = f"sqlite:///{(output / 'mlflow.db').resolve()}"
                files = (output / "mlflow").resolve().as_uri()
                return MLFlowLogger("consilium", run_name=output.name, tracking_uri=store, artifact_location=files)
            case "wandb":
                output.mkdir(parents=True, exist_ok=True)
                return WandbLogger(name=output.name, project="consilium", save_dir=str(output), offline=True)
    except ModuleNotFoundError as error:
        raise UserError(f"loggers: {kind} is not installed ({error}); run scripts/setup.sh again") from error
    raise UserError(f"loggers: found {kind!r}; choose from {', '.join(KINDS)}")
