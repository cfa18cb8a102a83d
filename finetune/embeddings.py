"""Embeddings of a frozen encoder, computed once for each patient and subset of modalities that training will show.

Without augmentation an embedding follows from the patient, the subset that `modality_dropout` leaves and the encoder.
Subsets follow from seed, epoch and patient, so those of the whole run are known before its first step: each is encoded
once, and every epoch draws its subsets as it would without the table.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset

from foundation.batch import Batch
from foundation.data.dataset import CohortModule, PatientDataset, Rows, drop_modalities
from foundation.data.sampler import Draw, generator_of
from foundation.distributed import processes, several_processes
from foundation.encoder import MultimodalEncoder
from foundation.files import read_json, replacing_folder, write_json
from foundation.tensors import add_weights, read_tensors, write_tensors

Key = tuple[str, tuple[str, ...]]  # patient, modalities

_FORMAT = 1
_AGAIN = "remove the folder, and they are computed anew"


class EmbeddingTable:
    """Embeddings by patient and subset, in memory and in a folder.

    Args:
        folder: named by all that the embeddings depend on; what an earlier run left there is taken up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[Key, int] = {}
        self.values = torch.zeros(0, 0)
        if (folder / "rows.json").is_file():
            content = read_json(folder / "rows.json", _AGAIN, "rows")
            self.rows = {(patient, tuple(names)): row for row, (patient, names) in enumerate(content["rows"])}
            self.values = read_tensors(folder / "embeddings.safetensors", _AGAIN)["fused"]

    def add(self, embeddings: dict[Key, Tensor]) -> None:
        """Takes in embeddings `[width]` each."""
        if not embeddings:
            return
        new = torch.stack(list(embeddings.values()))
        self.values = torch.cat([self.values.reshape(-1, new.shape[1]), new])
        self.rows |= {key: len(self.rows) + place for place, key in enumerate(embeddings)}

    def write(self) -> None:
        """Writes the folder anew, whole or not at all."""
        with replacing_folder(self.folder) as temporary:
            write_tensors(temporary / "embeddings.safetensors", {"fused": self.values})
            write_json(temporary / "rows.json", {"rows": [[patient, list(names)] for patient, names in self.rows]})


@dataclass
class EmbeddedPatients(Dataset[dict[str, Any]]):
    """Patients as rows of the table.

    Attributes:
        patients: whose targets these are.
        names: by patient, the modalities that they have.
        table: of embeddings.
        seed: of the run.
        modality_dropout: see `foundation.data.dataset.Collate`; None shows everything, as at evaluation.
    """

    patients: PatientDataset
    names: dict[str, list[str]]
    table: EmbeddingTable
    seed: int
    modality_dropout: float | None = None

    def __post_init__(self) -> None:
        self._targets = {patient: self.patients.targets_of(patient) for patient in self.patients.patients}

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int | Draw) -> dict[str, Any]:
        position, epoch = index if isinstance(index, Draw) else (index, 0)
        patient = self.patients.patients[position]
        fused = self.table.values[self.table.rows[self.key(patient, epoch)]]
        return {"patient": patient, "fused": fused, "targets": self._targets[patient]}

    def key(self, patient: str, epoch: int) -> Key:
        """What is shown of a patient in an epoch."""
        names = self.names[patient]
        if not self.modality_dropout:
            return patient, tuple(names)
        generator = generator_of(self.seed, epoch, patient)
        return patient, tuple(drop_modalities(dict.fromkeys(names), self.modality_dropout, generator))


def stack(rows: list[dict[str, Any]]) -> Batch:
    """A batch of embeddings instead of inputs."""
    targets = {name: torch.tensor([row["targets"][name] for row in rows]) for name in rows[0]["targets"]}
    return Batch([row["patient"] for row in rows], {}, {}, targets, torch.stack([row["fused"] for row in rows]))


class EmbeddedCohort(CohortModule):
    """A cohort's batches as embeddings; the missing ones are computed before the first step, by all processes together.

    Args:
        folder: of tables, one for each encoder, data, modalities and hidden inputs.
        train: patients to learn from.
        validation: patients to watch.
        encoder: frozen.
        more: as for `CohortModule`; nothing is augmented.
    """

    def __init__(
        self, folder: Path, train: PatientDataset, validation: PatientDataset, encoder: MultimodalEncoder, **more: Any
    ) -> None:
        super().__init__(train, validation, encoder, augment=False, **more)
        self.folder = folder
        self.table: EmbeddingTable | None = None
        self._names: dict[str, list[str]] = {}

    def setup(self, stage: str) -> None:
        if self.table is not None:
            return
        assert isinstance(self.encoder, MultimodalEncoder)
        assert self.trainer is not None
        parts = (self.train, self.validation)
        self.table = EmbeddingTable(self.folder / digest_of_embeddings(self.encoder, parts))
        self._names = {patient: part.modalities_of(patient) for part in parts for patient in part.patients}
        missing = [key for key in self._keys() if key not in self.table.rows]
        self.encoder.to(self.trainer.strategy.root_device)
        self.table.add(_of_all(encode(self.encoder, parts, _share(missing), self.batch_size)))
        if missing and self.trainer.is_global_zero:
            self.table.write()

    def _keys(self) -> list[Key]:
        """Everything that the run will show, each once."""
        training = self.embedded(self.train, self.modality_dropout)
        assert self.trainer is not None
        taken = self.trainer.max_steps * self.trainer.accumulate_grad_batches
        ahead = 1 + self.workers["num_workers"] * self.workers["prefetch_factor"]
        epochs = (taken + ahead) // max(1, len(self.train_dataloader().turns)) + 2
        whole = [self.embedded(part) for part in (self.train, self.validation)]
        keys = [rows.key(patient, 0) for rows in whole for patient in rows.patients.patients]
        keys += [training.key(patient, epoch) for epoch in range(epochs) for patient in self.train.patients]
        return list(dict.fromkeys(keys))

    def embedded(self, part: PatientDataset, modality_dropout: float | None = None) -> EmbeddedPatients:
        """A part as embeddings."""
        assert self.table is not None
        return EmbeddedPatients(part, self._names, self.table, self.seed, modality_dropout)

    def source(self, part: PatientDataset, train: bool) -> Rows:
        return self.embedded(part, self.modality_dropout if train else None), stack


@torch.no_grad()
def encode(
    encoder: MultimodalEncoder, parts: Sequence[PatientDataset], keys: Sequence[Key], size: int
) -> dict[Key, Tensor]:
    """Embeddings in single precision, on the CPU, of what is shown under each key."""
    part_of = {patient: part for part in parts for patient in part.patients}
    device = next(encoder.parameters()).device
    encoder.eval()
    embeddings: dict[Key, Tensor] = {}
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        samples = []
        for patient, names in some:
            sample = part_of[patient].sample(patient)
            samples.append({name: sample[name] for name in names})
        fused = encoder(encoder.encode_samples(samples).to(device)).fused
        embeddings |= dict(zip(some, fused.float().cpu(), strict=True))
    return embeddings


def digest_of_embeddings(encoder: MultimodalEncoder, parts: Sequence[PatientDataset]) -> str:
    """SHA-256 of all that embeddings depend on: weights, config and vocabularies, data, modalities, hidden inputs."""
    digest = hashlib.sha256()
    add_weights(digest, encoder)
    with tempfile.TemporaryDirectory() as folder:
        encoder.save_assets(Path(folder))
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    data = [[part.cohort.digest, part.modalities, part.drop_inputs, part.patients] for part in parts]
    digest.update(json.dumps([_FORMAT, data], sort_keys=True).encode())
    return digest.hexdigest()


def _share(keys: list[Key]) -> list[Key]:
    """This process's part of the work."""
    return keys[dist.get_rank() :: processes()] if several_processes() else keys


def _of_all(embeddings: dict[Key, Tensor]) -> dict[Key, Tensor]:
    if not several_processes():
        return embeddings
    parts: list[dict[Key, Tensor]] = [{} for _ in range(processes())]
    dist.all_gather_object(parts, embeddings)
    return {key: value for part in parts for key, value in part.items()}
