"""What each modality adds to a patient's score: Shapley values over the model's own answers to subsets."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import ShapleyValues
from torch import Tensor

from finetune.biomarkers.base import Part, number
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.page import table_of, words
from finetune.trial.base import patient_replicates
from foundation.data.sections import section
from foundation.statistics.figure import Figure, Support
from foundation.statistics.table import Floats, Integers

Sample = dict[str, Any]


def shapley(scorer: Scorer, samples: Sequence[Sample], nothing: float) -> tuple[Floats, Floats]:
    """Shapley values (Shapley 1953) of the modalities that each patient has, by all orders of them.

    Args:
        scorer: that answers to any subset.
        samples: of patients, by modality.
        nothing: the score of a patient of whom nothing is known.

    Returns:
        Values `[patients, modalities]`, NaN where a patient lacks one, and the patients' scores `[patients]`.
    """
    names = scorer.modalities
    values, scores = np.full((len(samples), len(names)), np.nan), np.empty(len(samples))
    for row, sample in enumerate(samples):
        there = [name for name in names if name in sample]
        answers = subset_scores(scorer, sample, there, nothing)
        whole = torch.ones(1, len(there))
        method = ShapleyValues(lambda shown, known=answers: known[_code(shown)])
        shares = method.attribute(whole, baselines=torch.zeros_like(whole))
        values[row, [names.index(name) for name in there]] = shares[0].double().numpy()
        scores[row] = float(answers[-1])
    return values, scores


def subset_scores(scorer: Scorer, sample: Sample, there: Sequence[str], nothing: float) -> Tensor:
    """The score of each subset of a patient's modalities, a bit each, the empty one first: `[subsets]`."""
    subsets = [
        {name: sample[name] for name, shown in zip(there, bits[::-1], strict=True) if shown}
        for bits in itertools.product((False, True), repeat=len(there))
    ]
    return torch.cat([torch.tensor([nothing]), scorer.samples(subsets[1:]).cpu()])


def shapley_part(scorer: Scorer, outcome: Outcome, settings: Settings, seed: int) -> Part:
    """A table of modalities, and how far the score changes without the one that it goes by most."""
    dataset = scorer.dataset(outcome.patients, scorer.modalities)
    chosen = dataset.patients[: settings.patients]
    samples = [dataset.sample(name) for name in chosen]
    before = scorer.dataset(scorer.trained_on(), scorer.modalities)
    nothing = float(scorer.samples([before.sample(name) for name in before.patients[: settings.patients]]).mean())
    values, scores = shapley(scorer, samples, nothing)
    weights = patient_replicates(chosen, settings.resamples, seed)
    sizes, rows = _sizes(scorer.modalities, values, weights, settings.smallest)
    changes = _removals(scorer, samples, values, scores)
    texts = (
        "mean absolute change of the score without the modality of largest Shapley value",
        "the same without one at random, mean over all of the patient's",
    )
    removed = {
        name: Support().figure(weights @ change / weights.sum(axis=1), len(chosen), {}, text)
        for name, change, text in zip(("removal", "removal_random"), changes, texts, strict=True)
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["patients", "mean size", "mean"])
    note = (
        f"Exact Shapley values of {len(chosen)} patients over all subsets that each has; nothing known counts as the "
        "mean score of training patients. Values add up to the score. Below, whether they are faithful."
    )
    top = max(sizes, key=lambda name: sizes[name].value or 0.0)
    lead = [f"Among modalities the score goes most by {top}: {words(sizes[top], 2)} of it, on average."]
    named = {f"modalities/{name}": figure for name, figure in (sizes | removed).items()}
    return Part(lead, [section("Modalities", [table, table_of(removed)], note=note)], named)


def _sizes(
    names: Sequence[str], values: Floats, weights: Integers, smallest: int
) -> tuple[dict[str, Figure], dict[str, list[str]]]:
    """Mean absolute value of each modality over replicates, and its row of the table."""
    figures, rows = {}, {}
    for name, column in zip(names, values.T, strict=True):
        known = ~np.isnan(column)
        n = int(known.sum())
        total = np.maximum(weights[:, known].sum(axis=1), 1)
        text = "mean absolute Shapley value of the modality, in the unit of the score"
        figures[name] = Support().figure(weights[:, known] @ np.abs(column[known]) / total, n, {}, text)
        cells = [str(n), words(figures[name]), number(float(column[known].mean()))] if n >= smallest else None
        rows[name] = cells or [f"<{smallest}" if n else "0", "–", "–"]
    return figures, rows


def _removals(scorer: Scorer, samples: Sequence[Sample], values: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Change of the score without the modality of largest value, and the mean without any one: `[patients]`."""
    largest, mean = np.zeros(len(samples)), np.zeros(len(samples))
    for row, sample in enumerate(samples):
        there = [name for name in scorer.modalities if name in sample]
        if len(there) < 2:
            continue
        rest = [{name: sample[name] for name in there if name != left} for left in there]
        changes = np.abs(scorer.samples(rest).double().numpy() - scores[row])
        sizes = [abs(values[row, scorer.modalities.index(name)]) for name in there]
        largest[row], mean[row] = changes[int(np.argmax(sizes))], changes.mean()
    return largest, mean


def _code(shown: Tensor) -> Tensor:
    """The number of a subset `[rows, modalities]` of 0 and 1, a bit each."""
    bits = 2 ** torch.arange(shown.shape[1])
    return (shown.round().long() * bits).sum(dim=1)
