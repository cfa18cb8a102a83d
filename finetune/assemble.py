"""Configs become objects: the encoder and the head."""

from pathlib import Path

from omegaconf import DictConfig

from finetune.heads.base import Head
from foundation.command import instantiate
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.choice import chosen
from foundation.run_record import FILE


def encoder_folder(path: Path) -> tuple[Path, list[Path]]:
    """The portable folder, and the run it came from where there is one.

    Args:
        path: a run's output folder, or an encoder folder itself.
    """
    folder = path / "encoder" if (path / "encoder").is_dir() else path
    run = folder.parent
    return folder, [run] if (run / FILE).is_file() else []


def check_vocabulary(encoder: MultimodalEncoder, cohort: Cohort) -> None:
    """Refuses an encoder that was trained in another vocabulary than the cohort's.

    Raises:
        UserError: naming the first difference.
    """
    for module in encoder.modalities.values():
        module.check_cohort(cohort.dictionary, cohort.name)  # type: ignore[operator]


def build_head(task: DictConfig, width: int, blocks: dict[str, int] | None = None) -> Head:
    """The head that the task describes.

    Args:
        task: of the config.
        width: of patient embeddings.
        blocks: sizes of the blocks of features that experts read instead of them.
    """
    head: Head = instantiate(task.head, width=width, blocks=blocks, _convert_="all")
    return head


def blocks_of(cfg: DictConfig, encoder: MultimodalEncoder, modalities: list[str]) -> dict[str, int] | None:
    """The blocks of features that experts read; None where the head is trained by steps.

    Raises:
        UserError: if there is no such method, or it does not go with another setting.
    """
    if cfg.method == "steps":
        return None
    if cfg.method not in ("experts", "sums"):
        raise UserError(f"method: found {cfg.method!r}; choose steps, experts or sums")
    if cfg.get("learning") is not None:
        raise UserError("learning: experts take no steps; method=sums goes on from a release of method=sums")
    if cfg.private is not None:
        raise UserError("private: experts are fitted without noise; set method=steps, or private=null")
    return encoder.feature_sizes(modalities)


def task_modalities(task: DictConfig, encoder: MultimodalEncoder) -> list[str]:
    """Those of the encoder that the task may look at."""
    if task.modalities is None:
        return list(encoder.modalities)
    return chosen("task.modalities", task.modalities, list(encoder.modalities))
