"""Data sets and batches of a cohort: reproducible by seed, any subset of modalities, no patient lost."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from foundation.batch import Batch
from foundation.data.cohort import Cohort
from foundation.data.loader import PatientLoader
from foundation.data.sampler import Draw, PatientSampler, generator_of
from foundation.data.storage import hide_inputs

Rows = tuple[Dataset[dict[str, Any]], Callable[[list[dict[str, Any]]], Batch]]


class PatientDataset(Dataset[dict[str, Any]]):
    """A cohort's patients as raw samples.

    Args:
        cohort: prepared.
        patients: ids, in order.
        modalities: those to read; a patient with nothing to look at in them is left out.
        targets: label columns of the cohort to hand on.
        drop_inputs: by genomics channel gene symbols, under `record` columns, whose values are hidden because they hold
            the target.
    """

    def __init__(
        self,
        cohort: Cohort,
        patients: Sequence[str],
        modalities: Sequence[str],
        targets: Sequence[str] = (),
        drop_inputs: dict[str, list[str]] | None = None,
    ) -> None:
        self.cohort = cohort
        self.modalities = list(modalities)
        self.targets = list(targets)
        self.drop_inputs = drop_inputs or {}
        table = cohort.patients.loc[list(patients)]
        has_any = table[self.modalities].astype(bool).any(axis=1)
        self.patients: list[str] = table.index[has_any].tolist()
        if self.drop_inputs:
            self.patients = [patient for patient in self.patients if self.sample(patient)]

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int | Draw) -> dict[str, Any]:
        """A patient by position, in the epoch that a sampler drew it for."""
        position, epoch = index if isinstance(index, Draw) else (index, 0)
        patient = self.patients[position]
        return {
            "patient": patient,
            "epoch": epoch,
            "sample": self.sample(patient),
            "targets": self.targets_of(patient),
        }

    def targets_of(self, patient: str) -> dict[str, float]:
        """A patient's targets, NaN where unknown."""
        return {name: float(self.cohort.patients.at[patient, name]) for name in self.targets}

    def modalities_of(self, patient: str) -> list[str]:
        """The modalities that a sample of the patient holds, in order."""
        return list(self.sample(patient))

    def sample(self, patient: str) -> dict[str, Any]:
        """A patient's raw values by modality, without what is hidden."""
        has = self.cohort.sample(patient, self.modalities)
        sample = {name: has[name] for name in self.modalities if name in has}
        return hide_inputs(sample, self.cohort.dictionary, self.drop_inputs)


class SampleEncoder(Protocol):
    """What batches are made by: the multimodal encoder's own transforms."""

    def encode_samples(
        self,
        samples: list[dict[str, Any]],
        patients: list[str] | None = None,
        generators: Sequence[torch.Generator | None] | None = None,
    ) -> Batch:
        """Raw samples as a batch; see `foundation.encoder.MultimodalEncoder`."""


class Collate:
    """Raw samples to a `Batch`, through the encoder's own transforms.

    Args:
        encoder: whose modalities transform.
        train: augment and corrupt. What a patient gets follows from seed, epoch and patient alone: not from the batch,
            the process or the worker that it falls to.
        seed: of the run.
        modality_dropout: chance that a present modality is hidden; one always stays.
        augment: False leaves inputs in training as they are at evaluation; modalities are hidden all the same.
    """

    def __init__(
        self, encoder: SampleEncoder, train: bool, seed: int, modality_dropout: float = 0.0, augment: bool = True
    ) -> None:
        self.augment = augment
        self.encoder = encoder
        self.train = train
        self.seed = seed
        self.modality_dropout = modality_dropout

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        patients = [row["patient"] for row in rows]
        samples = [row["sample"] for row in rows]
        generators = None
        if self.train:
            generators = [generator_of(self.seed, row["epoch"], row["patient"]) for row in rows]
            samples = [
                drop_modalities(sample, self.modality_dropout, generator)
                for sample, generator in zip(samples, generators, strict=True)
            ]
        batch = self.encoder.encode_samples(samples, patients, generators if self.augment else None)
        names = rows[0]["targets"]
        batch.targets = {name: torch.tensor([row["targets"][name] for row in rows]) for name in names}
        return batch


def drop_modalities(sample: dict[str, Any], chance: float, generator: torch.Generator) -> dict[str, Any]:
    """A random subset of a patient's modalities, never empty."""
    names = list(sample)
    keep = torch.rand(len(names), generator=generator) >= chance
    keep[torch.randint(len(names), (1,), generator=generator)] = True
    return {name: sample[name] for name, kept in zip(names, keep.tolist(), strict=True) if kept}


class CohortModule(pl.LightningDataModule):
    """Train and validation batches of a cohort, dealt out to the trainer's processes.

    Args:
        train: patients to learn from.
        validation: patients to watch.
        encoder: whose transforms make the batches.
        batch_size: patients a step and process.
        seed: of order, augmentation and corruption.
        modality_dropout: see `Collate`.
        augment: see `Collate`.
        num_workers: see `PatientLoader`, as for the two below.
        prefetch_factor: batches ahead.
        pin_memory: for GPUs; where there is one if None.
    """

    def __init__(
        self,
        train: PatientDataset,
        validation: PatientDataset,
        encoder: SampleEncoder,
        batch_size: int = 32,
        seed: int = 0,
        modality_dropout: float = 0.0,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool | None = None,
        augment: bool = True,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.train = train
        self.validation = validation
        self.encoder = encoder
        self.batch_size = batch_size
        self.seed = seed
        self.modality_dropout = modality_dropout
        self.workers: dict[str, Any] = {
            "num_workers": num_workers,
            "prefetch_factor": prefetch_factor,
            "pin_memory": torch.cuda.is_available() if pin_memory is None else pin_memory,
        }

    def train_dataloader(self) -> PatientLoader:
        rank, ranks = self._place()
        rows, collate = self.source(self.train, train=True)
        # A last batch of one patient has no pair to align with, so it is dropped whenever a full batch exists.
        full = len(self.train) >= self.batch_size * ranks
        sampler = PatientSampler(len(self.train), self.batch_size, self.seed, rank, ranks, drop_last=full)
        return PatientLoader(rows, sampler, collate, **self.workers)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        rank, ranks = self._place()
        rows, collate = self.source(self.validation, train=False)
        sampler = PatientSampler(len(self.validation), self.batch_size, 0, rank, ranks, shuffle=False)
        return DataLoader(rows, batch_sampler=sampler, collate_fn=collate)

    def source(self, part: PatientDataset, train: bool) -> Rows:
        """What batches of some patients are made of, and how."""
        return part, Collate(self.encoder, train, self.seed, self.modality_dropout, self.augment)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
