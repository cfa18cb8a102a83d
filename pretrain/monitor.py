"""Monitor of a pretraining run: retrieval, probes and signs of collapse on validation patients."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine.trainer import seeded
from foundation.probes import probe_auc
from foundation.representation_metrics import representation_metrics
from foundation.retrieval import retrieval
from pretrain.embedding import Embedded, embed

_MOST = 1000  # patients to embed of a part: enough for a curve


class Monitor(Callback):
    """Logs retrieval, probes of the declared labels, and signs of collapse, every so many steps and at the end.

    Args:
        train: patients on whom probes are fitted.
        validation: patients on whom everything is measured.
        every: steps.

    Attributes:
        latest: what was logged last.
    """

    def __init__(self, train: PatientDataset, validation: PatientDataset, every: int) -> None:
        self.train = _at_most(train)
        self.validation = _at_most(validation)
        self.every = every
        self.latest: dict[str, float] = {}
        self._last = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        due = step > 0 and (step % self.every == 0 or step == trainer.max_steps)
        if due and step != self._last:
            self._last = step  # gradient accumulation ends several batches at the same step
            self.latest = self.measure(pl_module.encoder)  # type: ignore[arg-type]
            for logger in trainer.loggers:  # themselves: what goes through `log` is said again at every later step
                logger.log_metrics(self.latest, step=step)

    def measure(self, encoder: MultimodalEncoder) -> dict[str, float]:
        """`monitor/...`: what `retrieval`, `representation_metrics` and `probe_auc` find."""
        with seeded(0):
            seen, known = embed(encoder, self.validation), embed(encoder, self.train)
        metrics = {**retrieval(seen.embeddings, seen.present), **representation_metrics(seen.embeddings, seen.present)}
        dictionary = self.validation.cohort.dictionary
        for label in [name for name in dictionary.labels if name not in dictionary.quantities]:
            for name in [*seen.embeddings, "fused"]:
                if name == "fused" or name in known.embeddings:
                    readers = probe_auc(*(labelled(part, name, label, self.train) for part in (known, seen)))
                    metrics |= {f"{name}/{label}_{reader}_auc": value for reader, value in readers.items()}
        return {f"monitor/{name}": value for name, value in metrics.items()}


def labelled(part: Embedded, name: str, label: str, dataset: PatientDataset) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of a modality `[patients, width]` beside a label of the cohort's, NaN where unknown."""
    values, patients = part.of(name)
    return values, dataset.cohort.patients.loc[patients, label].to_numpy(dtype=float)


def _at_most(dataset: PatientDataset) -> PatientDataset:
    if len(dataset) <= _MOST:
        return dataset
    step = len(dataset) / _MOST
    few = [dataset.patients[int(index * step)] for index in range(_MOST)]
    return PatientDataset(dataset.cohort, few, dataset.modalities)
