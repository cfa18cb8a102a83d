"""What a page tells of genes and pathways."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from finetune.biomarkers import leave_out, pictures, stability
from finetune.biomarkers.attribution import deletion, infidelity_figures
from finetune.biomarkers.base import Part, chance, number
from finetune.biomarkers.genes import Genes, directions, explain_genes, held_out_tests, sum_pathways, varied
from finetune.biomarkers.markers import recovery
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.permutation import Tested, permutation_test
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.page import table_of, words
from finetune.trial.base import patient_replicates, plain_figure
from foundation.data.sections import Section, section
from foundation.errors import UserError
from foundation.lineage import seen_by
from foundation.statistics.figure import Figure, Support
from foundation.statistics.table import Floats


def gene_part(scorer: Scorer, outcome: Outcome, settings: Settings, seed: int) -> Part:
    """Genes, and pathways where sets of genes are there."""
    genes = explain_genes(scorer, outcome)
    tested = held_out_tests(genes, settings.permutations, settings.smallest, seed)
    weights = patient_replicates(genes.outcome.patients, settings.resamples, seed)
    drawn = stability.resampled_importance(genes.shares, weights)
    ranking = _ranking(genes, tested, drawn, settings)
    figures = _discoveries(genes, tested, settings) | _stability(drawn, len(genes.shares), settings)
    if settings.markers is not None:
        figures |= recovery(genes.genes, genes.importance, settings.markers, settings.top)
    ordered, random = deletion(genes.score, genes.attributed, seed)
    faithful = leave_out.figures(ordered, random, weights, "measurements") | infidelity_figures(
        genes.score, genes.attributed, seed
    )
    faithful["completeness_gap"] = plain_figure(
        genes.attributed.gap,
        len(genes.shares),
        {},
        "largest gap between sum of attributions and change of score, in SD",
    )
    figures |= faithful | _other_runs(genes, scorer, outcome, settings)
    sections = [
        _table_section(genes, ranking, settings),
        section("Genes: discoveries, stability, known markers", [table_of(_others(figures, faithful))]),
        section(
            "Genes: faithfulness",
            [table_of(faithful)],
            pictures.deletion_curve(ordered, random),
            note="How far the score falls when measurements are set to the training patients' mean.",
        ),
    ]
    named = {f"genes/{name}": figure for name, figure in figures.items()}
    whole = Part([_lead(genes, tested, ranking, figures, settings)], sections, named, {"genes": ranking})
    sets = settings.pathways or getattr(scorer.encoder.modalities["genomics"], "sets", None)
    return whole if sets is None else whole + _pathway_part(genes, sets, settings, seed)


def _ranking(genes: Genes, tested: Tested, drawn: Floats, settings: Settings) -> pd.DataFrame:
    """All candidates that the model uses and in which enough patients differ, the most important first."""
    low, high = stability.rank_interval(drawn[1:])
    table = pd.DataFrame(
        {
            "gene": genes.genes,
            "measurement": [channel.replace("_", " ") for channel in genes.channels],
            "importance": genes.importance,
            "direction": directions(genes.values, genes.shares),
            "in_top": stability.first(drawn[1:], settings.top).mean(axis=0),
            "rank_low": low,
            "rank_high": high,
            "z": tested.z,
            "p": tested.p,
            "q": tested.q,
            "p_any": tested.adjusted,
        }
    )
    if genes.attention is not None:
        table["attention"] = genes.attention
    if settings.markers is not None:
        table["known"] = [settings.markers.note(gene) for gene in genes.genes]
    # What few patients differ in would tell what is theirs.
    shown = varied(genes.values, settings.smallest) & (genes.importance > 0)
    table = table[shown].sort_values("importance", ascending=False, kind="stable")
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table.reset_index(drop=True)


def _table_section(genes: Genes, ranking: pd.DataFrame, settings: Settings) -> Section:
    rows = ranking.head(settings.top)
    shown = pd.DataFrame(
        {
            "gene": rows["gene"],
            "measurement": rows["measurement"],
            "importance": [number(value, 4) for value in rows["importance"]],
            "more of it": ["raises" if value > 0 else "lowers" for value in rows["direction"]],
            f"in the first {settings.top} of resamples": [f"{value:.0%}" for value in rows["in_top"]],
            "rank, 95 %": [f"{low} – {high}" for low, high in zip(rows["rank_low"], rows["rank_high"], strict=True)],
            "z": [number(value, 2) for value in rows["z"]],
            "p": [chance(value) for value in rows["p"]],
            "q": [chance(value) for value in rows["q"]],
            "p, any": [chance(value) for value in rows["p_any"]],
        }
    )
    if "known" in rows:
        shown["known"] = rows["known"]
    if "attention" in rows:
        shown["attention"] = [number(value, 4) for value in rows["attention"]]
    shown.index = pd.Index(rows["rank"].astype(str))
    note = (
        f"Importance: mean absolute integrated gradient from the training patients' mean, of the score from genomics "
        f"alone, over {len(genes.outcome.patients)} patients. z, p: whether the measurement, in the direction in which "
        f"the model uses it, goes with {genes.outcome.words}, against labels permuted within hospitals; q: rate of "
        "false discoveries (Benjamini–Hochberg); p, any: of one false discovery or more (maxT). Measurements in which "
        f"fewer than {settings.smallest} patients differ are left out. A marker that goes along with a true one is "
        "found as well: association "
        "is no cause. All candidates: genes.csv."
    )
    if genes.attention is not None:
        note += (
            " Attention is how much the encoder's tokens look at a gene: it says nothing of what the gene does there."
        )
    return section("Genes that the score goes by", [shown], note=note)


def _discoveries(genes: Genes, tested: Tested, settings: Settings) -> dict[str, Figure]:
    discovered = tested.discoveries(settings.level)
    n, count = len(genes.outcome.patients), int(np.isfinite(tested.p).sum())
    facts = {"candidates": count}
    alarms = tested.false_alarms(settings.level)
    return {
        "tested": plain_figure(count, n, {}, "measurements that the model uses and that vary enough to be tested"),
        "discoveries": plain_figure(
            int(discovered.sum()), n, facts, f"measurements with q of at most {settings.level:g}, Benjamini–Hochberg"
        ),
        "permuted_discoveries": plain_figure(
            float(alarms.mean()), n, facts, f"the same of {len(alarms)} labels permuted within hospitals, mean"
        ),
        "permuted_any": plain_figure(
            float((alarms > 0).mean()), n, facts, "share of permuted labels that give any discovery"
        ),
        "discoveries_any": plain_figure(
            int((np.nan_to_num(tested.adjusted, nan=1.0) <= settings.level).sum()),
            n,
            facts,
            f"measurements with chance of any false one of at most {settings.level:g} (maxT)",
        ),
    }


def _stability(drawn: Floats, n: int, settings: Settings) -> dict[str, Figure]:
    text = f"agreement of the first {settings.top} over resamples of patients (Nogueira et al. 2018)"
    value = stability.agreement(stability.first(drawn[1:], settings.top))
    return {"stability_resamples": Support(patients=2).figure([value], n, {}, text)}


def _other_runs(genes: Genes, scorer: Scorer, outcome: Outcome, settings: Settings) -> dict[str, Figure]:
    """Agreement with rankings of models of other seeds or folds, on the same patients."""
    if not settings.others:
        return {}
    importance = [genes.importance]
    for folder in settings.others:
        other = Scorer(Path(folder), scorer.cohort, settings.output)
        _check_unseen(other, outcome, scorer.folder)
        values = explain_genes(other, outcome)
        if values.names != genes.names:
            raise UserError(
                f"evidence.others: {folder} reads other genes than {scorer.folder}; choose a run of its kind"
            )
        importance.append(values.importance)
    stacked, n = np.stack(importance), len(genes.shares)
    facts = {"runs": len(stacked)}
    return {
        "stability_runs": plain_figure(
            stability.agreement(stability.first(stacked, settings.top)),
            n,
            facts,
            f"agreement of the first {settings.top} over runs (Nogueira et al. 2018)",
        ),
        "rank_agreement_runs": plain_figure(
            stability.rank_agreement(stacked), n, facts, "mean Spearman correlation of importance over pairs of runs"
        ),
    }


def _check_unseen(other: Scorer, outcome: Outcome, run: Path) -> None:
    """Refuses a run that learnt from the patients, itself or by a run that it builds on and the ranked one does not.

    Raises:
        UserError: naming the run.
    """
    seen = set(other.trained_on()) & set(outcome.patients)
    advice = "choose runs that held out the same ones"
    if seen:
        raise UserError(f"evidence.others: {other.folder} has learnt from {len(seen)} of the patients; {advice}")
    at = dict(zip(outcome.patients, outcome.hospitals.tolist(), strict=True))
    ours = {one.run.resolve() for one in seen_by(run, at, [])[0]}  # of these the page says so first
    theirs = [one for one in seen_by(other.folder, at, [])[0] if one.run.resolve() not in ours]
    if theirs:
        raise UserError(f"evidence.others: {other.folder} builds on a run that has seen them: {theirs[0]}; {advice}")


def _pathway_part(genes: Genes, sets: Mapping[str, Sequence[str]], settings: Settings, seed: int) -> Part:
    pathways = sum_pathways(genes, sets, settings.fewest, settings.smallest)
    names = list(pathways.sizes)
    tested = permutation_test(
        pathways.shares, genes.outcome.residual, genes.outcome.hospitals, settings.permutations, seed
    )
    table = pd.DataFrame(
        {
            "pathway": names,
            "genes": list(pathways.sizes.values()),
            "importance": np.abs(pathways.shares).mean(axis=0),
            "z": tested.z,
            "p": tested.p,
            "q": tested.q,
        }
    ).sort_values("importance", ascending=False, kind="stable")
    shown = table.head(settings.top).assign(
        importance=[number(value, 4) for value in table["importance"].head(settings.top)],
        **{name: [chance(value) for value in table[name].head(settings.top)] for name in ("z", "p", "q")},
    )
    count = int(tested.discoveries(settings.level).sum())
    note = "What the members add to the score together, and whether that goes with the outcome; as for genes."
    figures = {
        "pathways/discoveries": plain_figure(count, len(genes.shares), {}, f"pathways with q up to {settings.level:g}")
    }
    lead = [
        f"{count} of {len(names)} pathways go with the outcome at a rate of false discoveries of {settings.level:g}."
    ]
    return Part(lead, [section("Pathways", [shown.set_index("pathway")], note=note)], figures, {"pathways": table})


def _lead(
    genes: Genes, tested: Tested, ranking: pd.DataFrame, figures: Mapping[str, Figure], settings: Settings
) -> str:
    best = ", ".join(f"{row.gene} ({row.measurement})" for row in ranking.head(5).itertuples())
    gain = figures["deletion_gain"]
    return (
        f"Of {words(figures['tested'], 0)} measurements of genes, {words(figures['discoveries'], 0)} go with "
        f"{genes.outcome.words} on patients not seen, at a rate of false discoveries of {settings.level:g} "
        f"({words(figures['permuted_discoveries'], 1)} where labels are permuted). The score goes most by {best}. "
        f"Taking away what adds most lowers it by {words(gain, 2)} more than taking away as many at random."
    )


def _others(figures: Mapping[str, Figure], faithful: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: figure for name, figure in figures.items() if name not in faithful}
