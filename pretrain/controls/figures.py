"""Figures of one run: the worth of its embeddings at hospitals that it never saw."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline
from torch.nn import functional

from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.splits import Split
from foundation.encoder import MultimodalEncoder
from foundation.probes import linear, probe_auc
from foundation.retrieval import retrieval
from pretrain.embedding import embed

Values = NDArray[np.float32]
_LEAST = 1e-4  # share below which a hospital is as good as ruled out


class Reading:
    """Embeddings of train, validation and test patients by one encoder, and what simple readers make of them.

    Args:
        encoder: frozen.
        cohort: prepared.
        split: of its patients.
        images: modality whose embeddings look for genes, and are probed.
        genes: modality that is looked for.
        label: a binary column of the patients' table.
    """

    def __init__(
        self, encoder: MultimodalEncoder, cohort: Cohort, split: Split, images: str, genes: str, label: str
    ) -> None:
        self.table = cohort.patients
        self.images, self.genes, self.label = images, genes, label
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        self.parts = {
            name: embed(encoder, PatientDataset(cohort, patients, list(encoder.modalities)))
            for name, patients in parts.items()
            if patients
        }

    def of_embeddings(self) -> dict[str, float]:
        """Recall both ways among test patients, and AUC of the label read from images."""
        return self._figures(dict.fromkeys((self.images, self.genes), _as_it_is))

    def of_site_alone(self) -> dict[str, float]:
        """The same from nothing but the hospital that images, and genes, look like they come from.

        A linear reader of the hospital is fitted on train patients' embeddings; each patient becomes the logarithms of
        its shares. `site_accuracy/...` (balanced) says how well it tells the hospitals of validation patients.
        """
        accuracies: dict[str, float] = {}
        looks: dict[str, Callable[[Values], Values]] = {}
        everywhere = sorted(set(self._column("hospital", self.parts["train"].patients, str).tolist()))
        for name in (self.images, self.genes):
            values, patients = self.parts["train"].of(name)
            reader = linear(values, self._column("hospital", patients, str))
            looks[name] = _looks(reader, everywhere, values)
            seen, who = self.parts["validation"].of(name)
            hospitals = self._column("hospital", who, str)
            accuracies[f"site_accuracy/{name}"] = float(balanced_accuracy_score(hospitals, reader.predict(seen)))
        return self._figures(looks) | accuracies

    def _figures(self, looks: dict[str, Callable[[Values], Values]]) -> dict[str, float]:
        test = self.parts["test"]
        pair = {
            name: functional.normalize(torch.from_numpy(look(test.of(name)[0])), dim=-1) for name, look in looks.items()
        }
        labelled = []
        for part in ("train", "test"):
            values, patients = self.parts[part].of(self.images)
            labelled.append((looks[self.images](values), self._column(self.label, patients, float)))
        read = probe_auc(labelled[0], labelled[1])
        return retrieval(pair, test.present) | {f"{self.label}/{name}_auc": value for name, value in read.items()}

    def _column(self, name: str, patients: list[str], kind: type) -> NDArray[np.generic]:
        column: NDArray[np.generic] = self.table.loc[patients, name].to_numpy(dtype=kind)
        return column


def _as_it_is(values: Values) -> Values:
    return values


def _looks(reader: Pipeline, hospitals: list[str], train: Values) -> Callable[[Values], Values]:
    """Logarithms of a patient's shares of hospitals, less their mean over train patients.

    A hospital that lacks the modality is ruled out for all.
    """
    places = [hospitals.index(str(name)) for name in reader.classes_]

    def logarithms(values: Values) -> Values:
        shares = np.full((len(values), len(hospitals)), _LEAST)
        shares[:, places] = np.clip(reader.predict_proba(values), _LEAST, 1)
        logs: Values = np.log(shares).astype(np.float32)
        return logs

    centre = logarithms(train).mean(axis=0)
    return lambda values: logarithms(values) - centre
