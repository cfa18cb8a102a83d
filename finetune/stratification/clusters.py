"""Clusters of the embedding: how stable, of whom, and how they fare."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, kruskal
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from finetune.page import Page, words
from finetune.stratification import pictures
from finetune.stratification.comparison import Comparison, table_of
from finetune.stratification.embedding import embeddings
from finetune.trial.base import Tool, plain_figure
from finetune.trial.patients import HOSPITAL, SCORE, ScoredPatients, read_scored
from finetune.trial.settings import ascending_days, count, listed, names
from foundation.data.sections import Section, section
from foundation.errors import UserError
from foundation.statistics.comparison import holm
from foundation.statistics.figure import Figure, Support
from foundation.statistics.suppression import HIDDEN, hidden_cells, hidden_note
from foundation.statistics.table import Floats, Integers

_STARTS = 10
_ESTIMATOR = "adjusted Rand index (Hubert & Arabie 1985) of clusters with those of a resample, mean over resamples"
_RESAMPLES = "95 % of resamples of the patients who make the clusters"
_LEAST = 5  # patients of a cluster of whom a mean or a share is told
_AGREED = 0.7  # of the index, from which clusters are called stable


class Clusters(Tool):
    """Clusters made of training patients, to which others are assigned (k-means).

    Args:
        clusters: how many; null takes the number whose clusters come out most alike in resamples.
        among: numbers to choose from.
        fixed_on: splits of the patients who make the clusters; none of them may be judged.
        resamples: of those patients, with replacement.
        horizons: days of survival.
    """

    def __init__(
        self,
        clusters: int | None = None,
        among: list[int] | None = None,
        fixed_on: list[str] | None = None,
        resamples: int = 100,
        horizons: list[float] | None = None,
    ) -> None:
        chosen = listed("strata.among", among, (2, 3, 4, 5, 6))
        self.among = sorted(count("strata.among", value, 2) for value in chosen)
        if clusters is not None:
            self.among = [count("strata.clusters", clusters, 2)]
        self.resamples = count("strata.resamples", resamples, 2)
        self.fixed_on = names("strata.fixed_on", fixed_on, ["train", "validation"])
        self.horizons = ascending_days("strata.horizons", horizons, (365, 1095, 1825))

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        if set(self.fixed_on) & set(scored.split.split("+")):
            raise UserError(f"strata.fixed_on: {', '.join(self.fixed_on)} are judged, too; make clusters of others")
        makers = read_scored(scored.run, self.fixed_on, scored.subset, scored.output)
        points, others = embeddings(scored.model, scored.cohort, makers.patients, scored.patients)
        if self.among[-1] >= len(points):
            raise UserError(f"strata.among: {self.among[-1]} clusters of {len(points)} patients; choose fewer")
        stability = {count: stabilities(points, count, self.resamples, seed) for count in self.among}
        count = max(stability, key=lambda one: float(stability[one].mean()))
        fitted = _ordered(points, makers.score, count, seed)
        cluster, names = fitted.predict(others), tuple(f"cluster {place + 1}" for place in range(count))
        figures = self._stability_figures(stability, len(points))
        stable = figures[f"stability/{count}"]
        hospital = adjusted_rand_score(scored.hospitals, cluster)
        text = "adjusted Rand index of clusters and hospitals; 0 where clusters do not tell the hospital"
        figures["hospital_agreement"] = plain_figure(hospital, len(cluster), {}, text)
        sections = [self._stability_section(stability), _characteristics(scored, cluster, names)]
        lead = [
            f"{count} clusters made of {len(points)} patients of {' and '.join(self.fixed_on)}; {len(cluster)} others "
            f"assigned. Stability over {self.resamples} resamples: {words(stable, 2)}, "
            + ("stable." if float(stability[count].mean()) >= _AGREED else f"not stable: below {_AGREED:g}."),
            f"Agreement of clusters with hospitals: {hospital:.2f} (0: none, 1: the same).",
        ]
        if scored.cohort.dictionary.survival:
            survival, picture = self._survival(scored, cluster, names)
            figures |= survival
            sections.insert(0, picture)
            p = survival["log_rank_p"]
            lead.append(f"Survival by cluster: log-rank p = {words(p) if p.value is None else f'{p.value:.2g}'}.")
        named = {f"clusters/{name}": figure for name, figure in figures.items()}
        return Page("Clusters of the embedding", lead, sections, named, scored.first)

    def _stability_figures(self, stability: dict[int, Floats], n: int) -> dict[str, Figure]:
        support = Support(patients=2)
        return {
            f"stability/{count}": support.figure(
                np.concatenate([[values.mean()], values]), n, {}, f"{_ESTIMATOR}, {count} clusters", _RESAMPLES
            )
            for count, values in stability.items()
        }

    def _stability_section(self, stability: dict[int, Floats]) -> Section:
        figures = self._stability_figures(stability, 2)
        rows = {str(count): [words(figures[f"stability/{count}"], 2)] for count in stability}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["adjusted Rand index"])
        return section("Stability by number of clusters", [table], note="Of the patients who make the clusters alone.")

    def _survival(
        self, scored: ScoredPatients, cluster: Integers, names: tuple[str, ...]
    ) -> tuple[dict[str, Figure], Section]:
        event, time = (scored.column(name, "survival").to_numpy(np.float64) for name in scored.survival())
        known = np.isfinite(event) & np.isfinite(time)
        group = cluster[known].astype(np.float64)
        comparison = Comparison(table_of(event[known], time[known], group, len(names)), names)
        return comparison.figures(self.horizons), section("Survival by cluster", [], pictures.curves(comparison))


def stabilities(points: Floats, count: int, resamples: int, seed: int) -> Floats:
    """How alike clusters of resampled patients are to those of all, on all patients: `[resamples]`.

    Each resample's clusters are those of its own k-means; patients are assigned to the nearest centre (Hennig 2007).
    """
    rng = np.random.default_rng(seed)
    whole = KMeans(count, n_init=_STARTS, random_state=seed).fit(points).labels_
    values = []
    for place in range(resamples):
        drawn = points[rng.integers(len(points), size=len(points))]
        fitted = KMeans(min(count, len(np.unique(drawn, axis=0))), n_init=_STARTS, random_state=place).fit(drawn)
        values.append(adjusted_rand_score(whole, fitted.predict(points)))
    return np.array(values)


def _ordered(points: Floats, score: Floats, count: int, seed: int) -> KMeans:
    """Clusters in the order of their patients' mean score, so that the first is the reference of lowest risk."""
    fitted = KMeans(count, n_init=_STARTS, random_state=seed).fit(points)
    means = [score[fitted.labels_ == place].mean() for place in range(count)]
    centres = fitted.cluster_centers_[np.argsort(means)]
    return KMeans(count, init=centres, n_init=1, max_iter=1).fit(points)


def _characteristics(scored: ScoredPatients, cluster: Integers, names: Sequence[str]) -> Section:
    """Means and shares of what is known of the patients, by cluster, and whether they differ (Holm over all)."""
    outcomes = set((scored.cohort.dictionary.survival or {}).values())
    rows, tests = {"patients": [str(int((cluster == place).sum())) for place in range(len(names))]}, {}
    for name in scored.table.columns.difference([*outcomes], sort=False):
        column = scored.table[name]
        numbers = pd.to_numeric(column, errors="coerce")
        label = "model's score" if name == SCORE else str(name)
        quantity = numbers.notna().sum() == column.notna().sum() and numbers.notna().any()
        # The mean of a yes or no is a count, and may be a small one.
        if name != HOSPITAL and quantity and not column.dropna().isin((0, 1)).all():
            groups = [numbers[cluster == place].dropna() for place in range(len(names))]
            rows[f"{label}, mean (SD)"] = [
                f"{g.mean():.2f} ({g.std():.2f})" if len(g) >= _LEAST else "–" for g in groups
            ]
            if all(len(group) for group in groups) and numbers.nunique() > 1:
                tests[f"{label}, mean (SD)"] = float(kruskal(*groups).pvalue)
            continue
        counts = pd.crosstab(column, cluster).reindex(columns=range(len(names)), fill_value=0)
        shares = (counts / np.maximum(1, counts.sum())).to_numpy()
        hidden = hidden_cells(counts.to_numpy(np.int64), _LEAST)
        for level, line, secret in zip(counts.index, shares, hidden, strict=True):
            rows[f"{label}: {_level(level)}"] = [
                HIDDEN if few else f"{share:.0%}" for share, few in zip(line, secret, strict=True)
            ]
        if len(counts) > 1 and (counts.sum() > 0).all():
            tests[f"{label}: {_level(counts.index[0])}"] = float(chi2_contingency(counts).pvalue)
    corrected = holm(tests)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(names))
    table["p, Holm"] = [f"{corrected[name]:.2g}" if name in corrected else "" for name in table.index]
    note = "Kruskal–Wallis test of numbers, chi-squared test of words (told beside the first of them). "
    note += hidden_note(_LEAST)
    return section("Who is in them", [table], note=note)


def _level(value: object) -> str:
    """A yes or no is a float where somebody's is unknown, and is 0 or 1 all the same."""
    return f"{value:g}" if isinstance(value, float) else str(value)
