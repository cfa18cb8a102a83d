"""A hospital's answers to what the server of a fine-tuning run asks for beside updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.federated.calibration import BASELINE, RISKS, TEMPERATURE, temperature_sums
from finetune.federated.counts import COUNTS, count_slots
from finetune.federated.cox import site_sums
from finetune.federated.features import embeddings, scores, targets_of
from finetune.federated.parcel import MODELS, of_question, unpacked
from finetune.federated.survival import NAMES, SurvivalAnswers
from finetune.federated.survival_settings import CoxSettings
from finetune.heads.multilabel import MultiLabel
from finetune.patients import count_modalities, target_columns
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.federation.sums import SiteSums
from foundation.federation.weights.types import Weights
from foundation.statistics.cox import RiskSums

if TYPE_CHECKING:
    from finetune.federated.task import Finetuning

Answer = Callable[["Finetuning", Weights, Weights], SiteSums]


def answer(task: Finetuning, name: str, weights: Weights, question: Weights) -> SiteSums:
    """The sums of a name.

    Raises:
        UserError: if there are none of it, or this site has no patient for them.
    """
    answers: dict[str, Answer] = {
        "encoder": _encoder,
        COUNTS: _counts,
        TEMPERATURE: _temperature,
        BASELINE: _baseline,
        RISKS: _risks,
    }
    if name in NAMES:
        return _cox(task, name, weights, question)
    if name not in answers:
        raise UserError(f"{name}: fine-tuning knows no such sums; install one release everywhere")
    return answers[name](task, weights, question)


def _encoder(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    """Keeps the encoder that came; says nothing of anybody."""
    assert task.home is not None
    unpacked(of_question(question), task.home / MODELS)
    return SiteSums({}, 0)


def _counts(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    patients = task.patients("train")
    counts = task.head.count(target_columns(task.cohort, patients, task.head))
    arrays = count_slots(counts, count_modalities(task.dataset("train")))
    return SiteSums(arrays, len(patients), tuple(arrays))


def _cox(task: Finetuning, name: str, weights: Weights, question: Weights) -> SiteSums:
    part = task.dataset("train")
    module, settings = task.placed(weights), _settings(task)
    fused = embeddings(module, part, task.embeddings)
    answers = SurvivalAnswers(module, part, fused, settings.grid, settings.ties)
    return site_sums(answers.answer(name, question), len(part))


def _temperature(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.validation
    with torch.no_grad():
        logits = scores(task.placed(weights), part, task.embeddings).double().numpy()
    targets = targets_of(part)
    several = isinstance(task.head, MultiLabel)
    labels = np.stack([targets[name].numpy() for name in task.head.targets], axis=1).astype(np.float64)
    sums = temperature_sums(
        logits, labels if several else labels[:, 0], np.asarray(question["theta"], dtype=np.float64), several
    )
    return SiteSums(sums, len(part), ("patients",))


def _baseline(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.learnt
    targets, risk = targets_of(part), _risk(task, part, weights)
    event, time = (targets[name].numpy() for name in task.head.targets)
    return site_sums(RiskSums.from_patients(event, time, risk, _settings(task).grid).to_arrays(), len(part))


def _risks(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.learnt
    below = (_risk(task, part, weights)[None] < question["edges"][:, None]).sum(axis=1)
    return SiteSums({"patients": below.astype(np.int64)}, len(part), ("patients",))


@torch.no_grad()
def _risk(task: Finetuning, part: PatientDataset, weights: Weights) -> NDArray[Any]:
    return scores(task.placed(weights), part, task.embeddings).squeeze(1).double().numpy()


def _settings(task: Finetuning) -> CoxSettings:
    return CoxSettings.of(task.cfg) or CoxSettings(method="gradient")
