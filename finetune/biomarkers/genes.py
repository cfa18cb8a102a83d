"""Genes that a model goes by: integrated gradients on patients whom it has not seen, and tests of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.biomarkers.attribution import Attributed, Score, integrated_gradients
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.permutation import Tested, permutation_test
from finetune.biomarkers.scorer import Scorer
from foundation.errors import UserError
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.genomics.storage import CHANNELS
from foundation.statistics.table import Floats

MODALITY = "genomics"


@dataclass(frozen=True)
class Genes:
    """Measurements of genes, a channel after the other, of patients who have any.

    Attributes:
        outcome: of these patients.
        genes, channels: of each candidate, `[candidates]`.
        values: `[patients, candidates]`, NaN where not measured.
        attributed: what each adds to the score from genomics alone.
        score: as a function of values.
        attention: that the encoder's tokens pay to the gene of each candidate; None where experts read the genes.
    """

    outcome: Outcome
    genes: list[str]
    channels: list[str]
    values: Floats
    attributed: Attributed
    score: Score
    attention: Floats | None = None

    @property
    def shares(self) -> Floats:
        """`[patients, candidates]`."""
        return np.asarray(self.attributed.shares.double().numpy())

    @property
    def importance(self) -> Floats:
        """Mean absolute attribution, `[candidates]`."""
        return np.asarray(np.abs(self.shares).mean(axis=0))

    @property
    def names(self) -> list[str]:
        return [f"{gene}, {channel.replace('_', ' ')}" for gene, channel in zip(self.genes, self.channels, strict=True)]


def explain_genes(scorer: Scorer, outcome: Outcome) -> Genes:
    """Attributions of those patients of whom a gene was measured.

    Raises:
        UserError: if nobody was.
    """
    module = scorer.encoder.modalities[MODALITY]
    assert isinstance(module, Genomics)
    values, rows = _values(scorer, outcome.patients)
    if len(rows) < 2:
        raise UserError(
            f"split: {len(rows)} of {len(outcome.patients)} patients have genomics; choose a split with more"
        )
    before = _values(scorer, scorer.trained_on())[0]
    known = (~before.isnan()).sum(dim=0)
    baseline = before.nan_to_num().sum(dim=0) / known.clamp(min=1)
    score = _score(scorer, len(module.genes))
    attributed = integrated_gradients(score, values, baseline)
    channels = [channel for channel in CHANNELS for _ in module.genes]
    attention = None if scorer.head.reads_features else np.tile(_attention(module), len(CHANNELS))
    names = list(module.genes) * len(CHANNELS)
    return Genes(outcome.of(rows), names, channels, values.double().numpy(), attributed, score, attention)


def directions(values: Floats, shares: Floats) -> Floats:
    """Whether more of an input raises (1) or lowers (-1) the score, from attributions alone, no label: `[inputs]`."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - np.where(known, values, 0.0).sum(axis=0) / count, 0.0)
    return np.asarray(np.sign((centred * shares).sum(axis=0)))


def deviating(values: Floats) -> NDArray[np.bool_]:
    """Which patients have another value than the commonest: `[patients, inputs]`, of inputs alike; NaN is none."""
    other = np.zeros(values.shape, dtype=np.bool_)
    for place, column in enumerate(values.T):
        known = ~np.isnan(column)
        if known.any():
            kinds, counts = np.unique(column[known], return_counts=True)
            other[:, place] = known & (column != kinds[counts.argmax()])
    return other


def varied(values: Floats, smallest: int) -> NDArray[np.bool_]:
    """Inputs of which at least so many patients have another value than the commonest: `[inputs]`."""
    return np.asarray(deviating(values).sum(axis=0) >= smallest)


def held_out_tests(genes: Genes, permutations: int, smallest: int, seed: int) -> Tested:
    """Whether each measurement, in the direction in which the model uses it, goes with the outcome of these patients.

    It is the measurement that is tested and not its attribution, which in a model that is not additive depends on other
    genes, too. The direction is the model's, so no label of these patients has part in it.
    """
    used = varied(genes.values, smallest)
    oriented = np.where(used, genes.values * directions(genes.values, genes.shares), np.nan)
    return permutation_test(oriented, genes.outcome.residual, genes.outcome.hospitals, permutations, seed)


@dataclass(frozen=True)
class Pathways:
    """Gene sets: what their members add together.

    Attributes:
        sizes: members that are measured, by name.
        shares: `[patients, pathways]`.
    """

    sizes: dict[str, int]
    shares: Floats


def sum_pathways(genes: Genes, sets: Mapping[str, Sequence[str]], fewest: int, smallest: int) -> Pathways:
    """Sums of attributions over members, which integrated gradients allow: they add up to the score (completeness).

    Args:
        genes: explained.
        sets: members by name.
        fewest: genes of a set that must be measured.
        smallest: patients, at least, in whom a member has another value than the commonest.

    Raises:
        UserError: if there is no such set.
    """
    measured = np.array(genes.genes)
    there = set(genes.genes)
    members = {name: there & set(some) for name, some in sets.items()}
    members = {name: some for name, some in members.items() if len(some) >= fewest}
    if not members:
        raise UserError(f"evidence.pathways: none of {len(sets)} sets has {fewest} of the model's {len(there)} genes")
    other = deviating(genes.values)
    enough = {name: other[:, np.isin(measured, list(some))].any(axis=1).sum() for name, some in members.items()}
    members = {name: some for name, some in members.items() if enough[name] >= smallest}
    if not members:
        raise UserError(
            f"evidence.smallest: no set of genes differs in {smallest} patients; give evidence.pathways=null"
        )
    shares = genes.shares
    sums = [shares[:, np.isin(measured, list(some))].sum(axis=1) for some in members.values()]
    return Pathways({name: len(some) for name, some in members.items()}, np.stack(sums, axis=1))


def _values(scorer: Scorer, patients: Sequence[str]) -> tuple[Tensor, NDArray[np.intp]]:
    """Channels side by side of those who have any, `[patients, channels * genes]`, and their places among all."""
    dataset = scorer.dataset(patients, [MODALITY])
    module = scorer.encoder.modalities[MODALITY]
    inputs = [module.transform(dataset.sample(name)[MODALITY], None) for name in dataset.patients]  # type: ignore[operator]
    place = {name: row for row, name in enumerate(patients)}
    rows = np.array([place[name] for name in dataset.patients], dtype=np.intp)
    if not inputs:
        return torch.zeros(0, len(CHANNELS) * len(module.genes)), rows  # type: ignore[arg-type]
    return torch.stack([one["values"].flatten() for one in inputs]), rows


@torch.no_grad()
def _attention(module: Genomics) -> Floats:
    """Mean over the encoder's tokens where every gene is measured, `[genes]`: it does not depend on the patient."""
    reach = module.reach(torch.ones(1, len(module.genes), dtype=torch.bool))
    score = (module.query @ module.gene.T * module.width**-0.5)[None].masked_fill(~reach, -torch.inf)
    return np.asarray(score.softmax(dim=-1).nan_to_num().mean(dim=(0, 1)).double().numpy())


def _score(scorer: Scorer, count: int) -> Score:
    def score(values: Tensor) -> Tensor:
        channels = values.unflatten(1, (len(CHANNELS), count))
        hidden = torch.zeros(len(values), count, dtype=torch.bool)
        return scorer.alone(MODALITY, {"values": channels, "masked": hidden})

    return score
