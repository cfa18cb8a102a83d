"""Measurements of genes told from H&E, gene by gene, on patients of whom no measurement was learnt from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finetune.biomarkers.base import Part, chance, number, who
from finetune.biomarkers.genes import varied
from finetune.biomarkers.markers import read_markers, recovery
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.permutation import Tested, correlation_test
from finetune.biomarkers.scorer import Scorer
from finetune.experts.blocks import Axes
from finetune.experts.ridge import PENALTIES, hospital_folds
from finetune.features import FeatureCache
from finetune.page import Page, table_of
from finetune.trial.base import Tool, plain_figure
from finetune.trial.patients import ScoredPatients
from foundation.data.dataset import PatientDataset
from foundation.data.sections import Section, section
from foundation.errors import UserError
from foundation.modalities.genomics.storage import CHANNELS
from foundation.statistics.figure import Figure
from foundation.statistics.table import Floats

_FEWEST = 20  # training patients with both, and judged ones, for a measurement to be told


class FromSlides(Tool):
    """Ridge regressions of each measurement on the encoder's features of H&E, and which of them hold.

    Args:
        channels: of the genes: `expression`, `mutations`, `copy_number`.
        known: see `finetune.biomarkers.evidence.Attribution`, as for the others.
        permutations: of patients within hospitals.
        level: rate of false discoveries.
        smallest: count of patients below which nothing is told or tested.
        top: of the ranking, on the page.
    """

    def __init__(
        self,
        channels: list[str] | None = None,
        known: str | None = None,
        permutations: int = 9999,
        level: float = 0.05,
        smallest: int = 5,
        top: int = 25,
    ) -> None:
        self.channels = channels or ["expression"]
        for name in self.channels:
            if name not in CHANNELS:
                raise UserError(f"evidence.channels: found {name!r}; choose of {', '.join(CHANNELS)}")
        if permutations < 99:
            raise UserError(f"evidence.permutations: found {permutations}; give a count from 99")
        if not 0 < level < 1:
            raise UserError(f"evidence.level: found {level}; give a rate between 0 and 1")
        self.markers = None if known is None else read_markers(Path(known))
        self.permutations, self.level, self.smallest, self.top = permutations, level, smallest, top

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        scorer = Scorer(scored.model, scored.cohort, scored.output)
        learnt, asked = (both(scorer, names) for names in (scorer.trained_on(), scored.patients))
        if set(learnt) & set(asked):
            raise UserError("split: the model has learnt from some of the patients; choose split=[test]")
        part = Part()
        for channel in self.channels:
            part += self._channel(scorer, learnt, asked, channel, seed, scored.first)
        return Page("Genes told from H&E", part.lead, part.sections, part.figures, scored.first, part.files)

    def _channel(
        self, scorer: Scorer, learnt: list[str], asked: list[str], channel: str, seed: int, first: str
    ) -> Part:
        train, test = (measured(scorer, names, channel) for names in (learnt, asked))
        rows, others = (np.flatnonzero(~np.isnan(values).all(axis=1)) for values in (train, test))
        if min(len(rows), len(others)) < _FEWEST:
            raise UserError(
                f"evidence.channels: {len(rows)} training patients and {len(others)} judged ones have H&E and "
                f"{channel}; it takes {_FEWEST} of each"
            )
        features = FeatureCache(scorer.cache, scorer.encoder, scorer.cohort, scorer.model.task["drop_inputs"])
        known = features.of([learnt[row] for row in rows], ["pathology"])
        asking = [asked[row] for row in others]
        table = scorer.cohort.patients
        predicted = predict(
            known,
            train[rows],
            table.loc[[learnt[row] for row in rows], "hospital"].tolist(),
            features.of(asking, ["pathology"]),
        )
        values, hospitals = test[others], table.loc[asking, "hospital"].to_numpy(str)
        values = np.where(varied(values, self.smallest), values, np.nan)
        tested, correlation = correlation_test(values, predicted, hospitals, self.permutations, seed)
        ranking = self._ranking(scorer.cohort.dictionary.genes, tested, correlation)
        groups = {"patients": np.ones(len(asking), dtype=np.bool_)}
        outcome = Outcome(asking, hospitals, np.zeros(len(asking)), groups, channel)
        part = self._told(channel, tested, correlation, ranking, len(rows), outcome, scorer.cohort.dictionary.genes)
        part.sections.append(who(outcome, self.smallest, first))
        return part

    def _ranking(self, genes: Sequence[str], tested: Tested, correlation: Floats) -> pd.DataFrame:
        table = pd.DataFrame(
            {
                "gene": list(genes),
                "correlation": correlation,
                "z": tested.z,
                "p": tested.p,
                "q": tested.q,
                "p_any": tested.adjusted,
                "survives": tested.discoveries(self.level),
            }
        )
        if self.markers is not None:
            table["known"] = [self.markers.note(gene) for gene in genes]
        table = table[table["p"].notna()].sort_values(["q", "z"], ascending=[True, False], kind="stable")
        return table.reset_index(drop=True)

    def _told(
        self,
        channel: str,
        tested: Tested,
        correlation: Floats,
        ranking: pd.DataFrame,
        learnt: int,
        outcome: Outcome,
        genes: Sequence[str],
    ) -> Part:
        n, count = len(outcome.patients), len(ranking)
        survive = int(ranking["survives"].sum())
        alarms = tested.false_alarms(self.level)
        middle = float(np.nanmedian(correlation)) if count else float("nan")
        text = f"genes whose held-out correlation survives at q of at most {self.level:g} (Benjamini–Hochberg)"
        figures: dict[str, Figure] = {
            "tested": plain_figure(count, n, {}, "genes tested"),
            "survive": plain_figure(survive, n, {"genes": count}, text),
            "survive_any": plain_figure(
                int((ranking["p_any"] <= self.level).sum()),
                n,
                {},
                f"at a chance of any false one of {self.level:g} (maxT)",
            ),
            "permuted": plain_figure(
                float(alarms.mean()), n, {}, f"the first of {len(alarms)} permuted predictions, mean"
            ),
            "median": plain_figure(middle, n, {}, "median correlation within hospitals over genes"),
        }
        if self.markers is not None:
            figures |= recovery(list(genes), np.nan_to_num(tested.z, nan=-np.inf), self.markers, self.top)
        best = ", ".join(f"{row.gene} ({row.correlation:.2f})" for row in ranking.head(5).itertuples())
        lead = (
            f"{channel.replace('_', ' ').capitalize()}: of {count} genes, {survive} are told from H&E on {n} patients "
            f"not learnt from ({alarms.mean():.1f} where predictions are permuted). Best: {best or 'none'}."
        )
        return Part(
            [lead],
            [self._section(channel, ranking, figures, learnt)],
            {f"{channel}/{name}": figure for name, figure in figures.items()},
            {channel: ranking},
        )

    def _section(self, channel: str, ranking: pd.DataFrame, figures: dict[str, Figure], learnt: int) -> Section:
        shown = ranking.head(self.top).drop(columns="survives").set_index("gene")
        shown = shown.assign(
            **{name: [number(value, 2) for value in shown[name]] for name in ("correlation", "z")},
            **{name: [chance(value) for value in shown[name]] for name in ("p", "q", "p_any")},
        )
        note = (
            f"Ridge regressions on plain features of the encoder, fitted on {learnt} training patients; each gene's "
            "penalty is the one by which training hospitals, left out one by one, are told best. Correlation is within "
            "hospitals, so a stain or a scanner that goes with a hospital counts for nothing; p by patients' "
            f"predictions exchanged within hospitals, one-sided. All genes: {channel}.csv."
        )
        return section(f"{channel.replace('_', ' ').capitalize()} from H&E", [shown, table_of(figures)], note=note)


def both(scorer: Scorer, patients: Sequence[str]) -> list[str]:
    """Those of the patients who have H&E and genomics."""
    for name in ("pathology", "genomics"):
        if name not in scorer.cohort.modalities or (name == "pathology" and name not in scorer.encoder.modalities):
            raise UserError(f"evidence: genes are told from H&E, and {scorer.folder} or its cohort has no {name}")
    table = scorer.cohort.patients.loc[list(patients)]
    return [str(name) for name in table.index[table["pathology"].astype(bool) & table["genomics"].astype(bool)]]


def measured(scorer: Scorer, patients: Sequence[str], channel: str) -> Floats:
    """A channel of the patients' genes, `[patients, genes]`, what the task may not look at, too: a target."""
    dataset = PatientDataset(scorer.cohort, patients, ["genomics"])
    rows = [dataset.sample(name)["genomics"][channel] for name in patients]
    return np.stack(rows).astype(np.float64) if rows else np.zeros((0, len(scorer.cohort.dictionary.genes)))


def predict(known: Floats, targets: Floats, hospitals: Sequence[str], asked: Floats) -> Floats:
    """Each target of other patients, `[others, targets]`, by a ridge regression of its own penalty.

    Args:
        known: features of the training patients, `[patients, size]`.
        targets: of them, `[patients, targets]`; a NaN counts as the target's mean.
        hospitals: of them; each is left out once to choose penalties.
        asked: features of the others.
    """
    axes = Axes.of(known)
    design, other = axes.project(known), axes.project(asked)
    there = ~np.isnan(targets)
    mean = np.where(there, targets, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    values = np.where(there, targets - mean, 0.0)
    errors = np.zeros((len(PENALTIES), targets.shape[1]))
    for fold in hospital_folds(hospitals):
        rest = np.setdiff1d(np.arange(len(design)), fold)
        for place, predicted in enumerate(_ridges(design[rest], values[rest], design[fold])):
            errors[place] += ((values[fold] - predicted) ** 2).sum(axis=0)
    predicted = np.stack(_ridges(design, values, other))
    chosen: NDArray[np.intp] = errors.argmin(axis=0)
    return np.asarray(predicted[chosen, :, np.arange(targets.shape[1])].T)


def _ridges(design: Floats, values: Floats, asked: Floats) -> list[Floats]:
    """Predictions under each penalty, from one decomposition (Hoerl & Kennard 1970)."""
    middle, mean = design.mean(axis=0), values.mean(axis=0)
    left, spread, right = np.linalg.svd(design - middle, full_matrices=False)
    inside, outside = left.T @ (values - mean), (asked - middle) @ right.T
    return [mean + outside @ (inside * (spread / (spread**2 + penalty))[:, None]) for penalty in PENALTIES]
