"""Plain features of patients, computed once for each modality, encoder and cohort, and kept in a folder."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune.experts.responses import Floats
from finetune.heads.base import Head
from finetune.metrics import Column
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.storage import storages
from foundation.encoder import MultimodalEncoder
from foundation.files import read_json, replacing_folder, write_json
from foundation.tensors import add_weights, read_tensors, write_tensors

_FORMAT = 1
_BATCH = 32
_AGAIN = "remove the folder, and they are computed anew"


class FeatureCache:
    """Features of a cohort's patients by a modality's encoder.

    Args:
        folder: of tables, one for each modality, its encoder, and data; kept in memory alone if None.
        encoder: whose features these are.
        cohort: prepared.
        drop_inputs: by genomics channel, symbols hidden from the task.
    """

    def __init__(
        self, folder: Path | None, encoder: MultimodalEncoder, cohort: Cohort, drop_inputs: Mapping[str, list[str]]
    ) -> None:
        self.folder = folder
        self.encoder = encoder.eval()
        self.cohort = cohort
        self.drop_inputs = dict(drop_inputs)
        self._tables: dict[str, dict[str, Tensor]] = {}
        self._places: dict[str, Path] = {}

    def of(self, patients: Sequence[str], modalities: Sequence[str]) -> Floats:
        """Features of some modalities side by side, `[patients, features]`: NaN where a patient has none."""
        parts = []
        for name in modalities:
            rows = self._rows(name, patients)
            nothing = torch.full((sum(self.encoder.feature_sizes([name]).values()),), float("nan"))
            values = [rows.get(patient, nothing) for patient in patients]
            parts.append(torch.stack(values) if values else nothing.new_zeros((0, len(nothing))))
        return torch.cat(parts, dim=1).numpy().astype(np.float64)

    def subset(self, patients: Sequence[str], modalities: Sequence[str], shown: Sequence[str]) -> Floats:
        """As `of`, with the modalities that are not shown missing."""
        parts = []
        for name in modalities:
            size = sum(self.encoder.feature_sizes([name]).values())
            nothing = np.full((len(patients), size), np.nan)
            parts.append(self.of(patients, [name]) if name in shown else nothing)
        return np.concatenate(parts, axis=1)

    def _rows(self, modality: str, patients: Sequence[str]) -> dict[str, Tensor]:
        """Features of one modality, `[features]` by patient who has it; the missing ones are computed and kept."""
        if modality not in self._tables:
            self._tables[modality] = {}
            if self.folder is not None:
                self._places[modality] = self.folder / f"{modality}-{self._digest(modality)[:32]}"
                self._tables[modality] = _read(self._places[modality])
        rows = self._tables[modality]
        new = self._computed(modality, [patient for patient in patients if patient not in rows])
        if new:  # none for patients who lack the modality
            rows |= new
            if modality in self._places:
                _write(self._places[modality], rows)
        return rows

    @torch.no_grad()
    def _computed(self, modality: str, patients: list[str]) -> dict[str, Tensor]:
        dataset = PatientDataset(self.cohort, patients, [modality], drop_inputs=self.drop_inputs)
        device = next(self.encoder.parameters()).device
        rows: dict[str, Tensor] = {}
        for start in range(0, len(dataset), _BATCH):
            some = dataset.patients[start : start + _BATCH]
            batch = self.encoder.encode_samples([dataset.sample(patient) for patient in some]).to(device)
            rows |= dict(zip(some, self.encoder.features(batch, [modality]).float().cpu(), strict=True))
        return rows

    def _digest(self, modality: str) -> str:
        """SHA-256 of all that the features depend on."""
        module = self.encoder.modalities[modality]
        digest = hashlib.sha256()
        add_weights(digest, module)
        with tempfile.TemporaryDirectory() as folder:
            module.save_assets(Path(folder))  # type: ignore[operator]
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
        hides = storages()[modality].hides
        hidden = {key: names for key, names in self.drop_inputs.items() if key in hides}
        settings = module.settings()  # type: ignore[operator]
        digest.update(json.dumps([_FORMAT, settings, self.cohort.digest, hidden], sort_keys=True).encode())
        return digest.hexdigest()


@torch.no_grad()
def feature_scores(head: Head, values: Floats) -> Column:
    """A head's estimates from features, `[patients]` or `[patients, outputs]`."""
    return head.estimate(head(torch.from_numpy(values).float())).numpy().astype(np.float64)


def _read(folder: Path) -> dict[str, Tensor]:
    if not (folder / "patients.json").is_file():
        return {}
    patients = read_json(folder / "patients.json", _AGAIN, "patients")["patients"]
    values = read_tensors(folder / "features.safetensors", _AGAIN)["features"]
    return dict(zip(patients, values.unbind(), strict=True))


def _write(folder: Path, rows: dict[str, Tensor]) -> None:
    with replacing_folder(folder) as temporary:
        write_tensors(temporary / "features.safetensors", {"features": torch.stack(list(rows.values()))})
        write_json(temporary / "patients.json", {"patients": list(rows)})
