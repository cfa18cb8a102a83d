"""Configs become objects: the encoder, the patients whose target is known, the head."""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from finetune.heads.base import Head
from foundation.command import instantiate, plain
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.genomics import Genomics
from foundation.modalities.record import Record
from foundation.run_record import FILE


def encoder_folder(given: Path) -> tuple[Path, list[Path]]:
    """The portable folder, and the run it came from where there is one.

    Args:
        given: a run's output folder, or an encoder folder itself.
    """
    folder = given / "encoder" if (given / "encoder").is_dir() else given
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


def target_names(task: DictConfig) -> list[str]:
    """The label columns that the task's head reads."""
    return [str(task.head[key]) for key in ("target", "event", "time") if key in task.head]


def patients_with_target(
    cohort: Cohort, patients: list[str], task: DictConfig, encoder: MultimodalEncoder
) -> PatientDataset:
    """The patients whose targets are all known and who have a modality that the task looks at.

    Raises:
        UserError: if the cohort has no such column.
    """
    names = target_names(task)
    for name in names:
        if name not in cohort.patients.columns:
            labels = [*cohort.dictionary.labels, *cohort.dictionary.survival.values()]
            raise UserError(f"task.head: target '{name}' is no label of {cohort.name}; it has {', '.join(labels)}")
    known = cohort.patients.loc[patients, names].notna().all(axis=1)
    drop = plain(task.drop_inputs) if task.drop_inputs else {}
    return PatientDataset(
        cohort, [p for p, yes in zip(patients, known, strict=True) if yes], task_modalities(task, encoder), names, drop
    )


def task_modalities(task: DictConfig, encoder: MultimodalEncoder) -> list[str]:
    """Those of the encoder that the task may look at."""
    if task.modalities is None:
        return list(encoder.modalities)
    for name in task.modalities:
        if name not in encoder.modalities:
            raise UserError(f"task.modalities: the encoder has no '{name}'; it has {', '.join(encoder.modalities)}")
    return [str(name) for name in task.modalities]


def build_head(task: DictConfig, width: int, train: PatientDataset, private: bool = False) -> Head:
    """The head that the task describes; what it needs of the training targets is taken from them alone.

    Args:
        task: of the config.
        width: of the patient embedding.
        train: whose targets.
        private: check the targets, and take nothing from them: the head's file would tell it.
    """
    targets = {
        name: train.cohort.patients.loc[train.patients, name].to_numpy(dtype=np.float64) for name in train.targets
    }
    kind: type[Head] = instantiate({"_target_": "hydra.utils.get_class", "path": task.head._target_})
    given: dict[str, Any] = plain(task.head)
    needed = kind.needs(targets, given)
    head: Head = instantiate({**({} if private else needed), **given}, width=width, _convert_="all")
    return head
