"""Configs become objects: the encoder and the head."""

from pathlib import Path

from omegaconf import DictConfig

from finetune.heads.base import Head
from foundation.command import instantiate
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.genomics import Genomics
from foundation.modalities.record import Record
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
    """Refuses an encoder whose genes or record columns are others than the cohort's.

    Raises:
        UserError: naming the first difference.
    """
    modalities = dict(encoder.modalities.items())
    genomics, record = modalities.get("genomics"), modalities.get("record")
    if isinstance(genomics, Genomics) and genomics.genes != cohort.dictionary.genes:
        raise UserError(
            f"encoder: it knows {len(genomics.genes)} genes, cohort {cohort.name} has {len(cohort.dictionary.genes)} "
            "in another list; prepare the cohort with the dictionary that the encoder was pretrained on"
        )
    if isinstance(record, Record):
        known, found = [c["name"] for c in record.columns], [c.name for c in cohort.dictionary.record]
        if known != found:
            raise UserError(
                f"encoder: its record columns are {', '.join(known)}, cohort {cohort.name} has {', '.join(found)}; "
                "prepare the cohort with the dictionary that the encoder was pretrained on"
            )


def build_head(task: DictConfig, width: int) -> Head:
    """The head that the task describes, for patient embeddings of a width."""
    head: Head = instantiate(task.head, width=width, _convert_="all")
    return head


def task_modalities(task: DictConfig, encoder: MultimodalEncoder) -> list[str]:
    """Those of the encoder that the task may look at."""
    if task.modalities is None:
        return list(encoder.modalities)
    for name in task.modalities:
        if name not in encoder.modalities:
            raise UserError(f"task.modalities: the encoder has no '{name}'; it has {', '.join(encoder.modalities)}")
    return [str(name) for name in task.modalities]
