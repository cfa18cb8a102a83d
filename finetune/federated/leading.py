"""What the server of a fine-tuning run does by sums: class weights first, steps of Cox regression, calibration last."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from finetune.assemble import encoder_folder
from finetune.federated.calibration import LINE, LINES, fit_baseline, fit_temperature, quantiles
from finetune.federated.counts import COUNTS, count_shapes, counts_of, modalities_of
from finetune.federated.cox import AdamW, PooledCox, pooled_gradient
from finetune.federated.parcel import packed_encoder, to_question
from finetune.federated.reliability import Fitted, fit_by_sums
from finetune.federated.reliability_settings import ReliabilityPart, SupportPart
from finetune.federated.steady import Steady, of_steady_sites
from finetune.federated.survival_settings import CoxSettings
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression, line_of
from finetune.heads.survival import Survival
from finetune.patients import told_outcomes
from finetune.reliability.module import blocks_of
from foundation.encoder import MultimodalEncoder
from foundation.engine.learning_rate import warmup_cosine
from foundation.errors import UserError
from foundation.federation.sums import Ask, Refused
from foundation.federation.weights.types import Arrays, Weights
from foundation.statistics.table import Floats

if TYPE_CHECKING:
    from finetune.federated.task import Finetuning

_HEAD = "head."


def hand_over(task: Finetuning, ask: Ask, equipped: frozenset[str]) -> frozenset[str]:
    """Sends the encoder to connected sites of other machines that did not get it yet; those that have it now."""
    missing = [site for site in ask.connected if site not in equipped]
    if task.cfg.federation.kind != "deployment" or not missing:
        return equipped
    folder, _ = encoder_folder(Path(task.cfg.pretrained))
    question = to_question(packed_encoder(folder))
    return equipped | set(ask("encoder", {}, {}, question, missing).sites)


def with_counts(task: Finetuning, ask: Ask, weights: Arrays) -> Weights:
    """The head's buffers as pooled counts of the hospitals' train patients set them.

    Raises:
        UserError: if nothing can be learnt from the patients of all hospitals together.
    """
    if ask.refuses:
        return {}
    head = task.head
    total = dict(ask(COUNTS, {}, count_shapes(head, task.cfg.data.modalities)).arrays)
    task.keep_modalities(modalities_of(total))
    counts = counts_of(total)
    head.check(counts)
    # Whether a person stands behind a row, each hospital knows of its own: so as if one did.
    task.keep_outcomes(told_outcomes(head, counts, synthetic=False))
    for doubt in head.scarce(counts):
        print(f"warning: {doubt}", flush=True)
    before = {name: value.clone() for name, value in head.named_buffers()}
    head.set_counts(counts)
    changed = {name: value for name, value in head.named_buffers() if not value.equal(before[name])}
    return {f"{_HEAD}{name}": value.numpy() for name, value in changed.items()}


def step_by_sums(task: Finetuning, ask: Ask, weights: Arrays, number: int, buffers: frozenset[str]) -> Weights | None:
    """A round of Cox regression; None where the run goes by updates.

    Raises:
        UserError: if the task is not survival.
    """
    settings = CoxSettings.of(task.cfg)
    if settings is None:
        return None
    if not isinstance(task.head, Survival):
        raise UserError(f"cox: the task '{task.cfg.task.name}' is not survival; drop cox, and sites send updates")
    if settings.method == "gradient":
        return _descend(task, ask, dict(weights), number, buffers, settings)
    name = last_layer(weights)
    beta = np.asarray(weights[name], dtype=np.float64)[0]
    stratified = settings.method == "stratified"

    def fit(steady: Steady) -> Floats:
        cox = PooledCox(steady, weights, settings.grid, len(beta), settings.ridge, stratified, settings.ties)
        return cox.fit(beta, task.cfg.steps_per_round)

    return {name: of_steady_sites(ask, fit)[None].astype(weights[name].dtype)}


def last_layer(weights: Mapping[str, object]) -> str:
    """Name of the weights of the head's last layer, the latest of its sequence."""
    names = [name for name in weights if name.startswith(f"{_HEAD}score.") and name.endswith(".weight")]
    return max(names, key=lambda name: int(name.split(".")[2]))


def calibrated(task: Finetuning, ask: Ask, weights: Arrays) -> Weights:
    """The head's buffers that calibration fits, on the hospitals' validation patients."""
    return {} if ask.refuses else of_steady_sites(ask, lambda steady: _fit_calibration(task, steady, weights))


def _fit_calibration(task: Finetuning, ask: Steady, weights: Arrays) -> Weights:
    head = task.head
    if isinstance(head, Survival):
        settings = CoxSettings.of(task.cfg) or CoxSettings(method="gradient")
        return fit_baseline(ask, weights, settings.grid, len(head.baseline_days), len(head.cuts))
    if isinstance(head, Classification | MultiLabel):
        return fit_temperature(ask, weights, len(head.shift), isinstance(head, MultiLabel))
    if isinstance(head, DiscreteHazards):
        fitted = fit_temperature(ask, weights, 1, several=True)
        cuts = quantiles(ask, {**weights, **fitted}, len(head.cuts))
        return {**fitted, "head.cuts": cuts.astype(np.float32)}
    if isinstance(head, CompetingRisks):
        fitted = fit_temperature(ask, weights, len(head.causes), several=False)
        after = {**weights, **fitted}
        by_cause = [quantiles(ask, after, head.cuts.shape[1], cause) for cause in range(len(head.causes))]
        return {**fitted, "head.cuts": np.stack(by_cause).astype(np.float32)}
    if isinstance(head, Regression):
        sums = ask(LINE, weights, dict(zip(LINES, ((2, 2), (2,)), strict=True)))
        return {"head.line": line_of(*(sums[name] for name in LINES)).astype(np.float32)}
    return {}


def reliability(task: Finetuning, ask: Ask, weights: Arrays) -> Fitted | str:
    """What is saved beside the head, fitted on the hospitals' validation patients; or why nothing is, in words."""
    settings, support = ReliabilityPart.of(task.cfg), SupportPart.of(task.cfg)
    if settings is None and support is None:
        return "reliability=null"
    if ask.refuses:
        return "privacy covers updates alone, and exact sums would tell more"
    folder, _ = encoder_folder(Path(task.cfg.pretrained))
    encoder = MultimodalEncoder.from_pretrained(folder)
    modalities = [str(name) for name in task.cfg.data.modalities]
    blocks = blocks_of({name: encoder.feature_sizes([name]) for name in modalities})
    head, outputs = copy.deepcopy(task.head), len(weights[last_layer(weights)])
    for name in dict(head.named_buffers()):
        if f"{_HEAD}{name}" in weights:
            getattr(head, name).copy_(torch.from_numpy(np.array(weights[f"{_HEAD}{name}"])))
    try:
        return of_steady_sites(
            ask, lambda steady: fit_by_sums(steady, weights, head, outputs, modalities, blocks, settings, support)
        )
    except Refused as error:
        return str(error)


def _descend(
    task: Finetuning, ask: Ask, weights: Weights, number: int, buffers: frozenset[str], settings: CoxSettings
) -> Weights:
    """Steps along the exact gradient of the pooled loss."""
    cfg = task.cfg
    learning = [name for name, value in weights.items() if name not in buffers and value.dtype.kind == "f"]
    optimizer, total = AdamW(cfg.optimizer.weight_decay), cfg.rounds * cfg.steps_per_round
    for step in range(cfg.steps_per_round):
        gradient = of_steady_sites(ask, lambda steady: pooled_gradient(steady, weights, settings.grid, learning)[1])
        done = ((number - 1) * cfg.steps_per_round + step) / max(1, total)
        share = warmup_cosine(done, cfg.optimizer.warmup)
        head, encoder = cfg.optimizer.learning_rate * share, cfg.optimizer.encoder_learning_rate * share

        def rate(name: str, head: float = head, encoder: float = encoder) -> float:
            return head if name.startswith(_HEAD) else encoder

        optimizer.step(weights, gradient, rate)
    return {name: weights[name] for name in learning}
