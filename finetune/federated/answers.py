"""A hospital's answers to what the server of a fine-tuning run asks for beside updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.federated import reliability
from finetune.federated.calibration import BASELINE, LINE, LINES, RISKS, TEMPERATURE, most_edges
from finetune.federated.counts import COUNTS, count_slots
from finetune.federated.cox import site_sums
from finetune.federated.features import embeddings, scores, targets_of
from finetune.federated.parcel import MODELS, of_question, unpacked
from finetune.federated.reliability_answers import ReliabilityAnswers
from finetune.federated.survival import NAMES, SurvivalAnswers
from finetune.federated.survival_settings import CoxSettings
from finetune.federated.temperature import calibration_sums
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.follow_up import GROUPS
from finetune.heads.regression import Regression
from finetune.heads.survival import Survival
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
        LINE: _line,
        BASELINE: _baseline,
        RISKS: _risks,
    }
    if name in NAMES:
        return _cox(task, name, weights, question)
    if name in reliability.NAMES:
        if task.cfg.reliability is None and task.cfg.calibration is None:
            raise UserError(f"{name}: the run's plan says nothing of reliability; install one release everywhere")
        return ReliabilityAnswers(task, weights).answer(name, question)
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
    return SiteSums(arrays, len(patients), tuple(name for name, sums in arrays.items() if sums.dtype.kind in "iu"))


def _cox(task: Finetuning, name: str, weights: Weights, question: Weights) -> SiteSums:
    part = task.dataset("train")
    module, settings = task.placed(weights), _settings(task)
    fused = embeddings(module, part, task.embeddings)
    answers = SurvivalAnswers(module, part, fused, settings.grid, settings.ties)
    return site_sums(answers.answer(name, question), len(part))


@torch.no_grad()
def _temperature(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.validation
    logits = scores(task.placed(weights), part, task.embeddings)
    theta = np.asarray(question["theta"], dtype=np.float64)
    return SiteSums(calibration_sums(task.head, logits, targets_of(part), theta), len(part), ("patients",))


@torch.no_grad()
def _line(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    module, part = task.placed(weights), task.validation
    assert isinstance(module.head, Regression)
    sums = module.head.line_sums(scores(module, part, task.embeddings), targets_of(part))
    return SiteSums(dict(zip(LINES, sums, strict=True)), len(part))


def _baseline(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.learnt
    targets, risk = targets_of(part), _risk(task, part, weights, 0)
    event, time = (targets[name].numpy() for name in task.head.targets)
    return site_sums(RiskSums.from_patients(event, time, risk, _settings(task).grid).to_arrays(), len(part))


def _risks(task: Finetuning, weights: Weights, question: Weights) -> SiteSums:
    part = task.learnt
    risk = _risk(task, part, weights, _output(task, question))
    edges = question.get("edges", np.zeros(0))
    most = most_edges(len(GROUPS) - 1)
    if edges.ndim != 1 or edges.dtype.kind != "f" or not 0 < edges.size <= most or np.isnan(edges).any():
        raise UserError(
            f"{RISKS}: asked to count below other than one to {most} numbers; install one release everywhere"
        )
    below = np.searchsorted(np.sort(risk), edges)  # patients by edge at once would be a table of both
    return SiteSums({"patients": below.astype(np.int64)}, len(part), ("patients",))


def _output(task: Finetuning, question: Weights) -> int:
    """The place of the cause that a question names; 0 where the head knows one kind of event.

    Raises:
        UserError: if there is none at that place.
    """
    kinds = len(task.head.causes) if isinstance(task.head, CompetingRisks) else 1
    asked = question.get("output", np.zeros(1, dtype=np.int64))
    if asked.shape != (1,) or asked.dtype.kind not in "iu" or not 0 <= int(asked[0]) < kinds:
        raise UserError(f"{RISKS}: asked for the risk of another event than the {kinds} that the head knows")
    return int(asked[0])


@torch.no_grad()
def _risk(task: Finetuning, part: PatientDataset, weights: Weights, output: int) -> NDArray[Any]:
    """By what the head ranks patients, of the cause of that place where it knows several: `[patients]`."""
    module = task.placed(weights)
    raw = scores(module, part, task.embeddings)
    if isinstance(module.head, Survival):
        return raw.squeeze(1).double().numpy()
    estimates = module.head.estimate(raw).double().numpy()
    if isinstance(module.head, CompetingRisks):
        return module.head.statistics().risks(estimates)[output]
    assert isinstance(module.head, DiscreteHazards)
    return np.asarray(module.head.risk(estimates))


def _settings(task: Finetuning) -> CoxSettings:
    return CoxSettings.of(task.cfg) or CoxSettings(method="gradient")
