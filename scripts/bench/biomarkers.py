"""Biomarkers of real task models: known glioma markers in the ranking, false alarms, faithfulness, genes from H&E.

    PYTHONPATH=. python scripts/bench/biomarkers.py --runs runs/glioma/survival/evaluation runs/glioma/idh/evaluation

Each run is an evaluation on hospitals held out; nothing is chosen on them, and every setting is the command's default.
False alarms are counted over labels permuted within hospitals anew, each tested as if it had been observed. Figures
come last.
"""

import argparse
from pathlib import Path

import numpy as np

from finetune.biomarkers import leave_out
from finetune.biomarkers.attribution import deletion, infidelity_figures
from finetune.biomarkers.expression import FromSlides
from finetune.biomarkers.genes import Genes, directions, explain_genes, held_out_tests, varied
from finetune.biomarkers.markers import Markers, recovery
from finetune.biomarkers.outcome import outcome_of
from finetune.biomarkers.permutation import permutation_test
from finetune.biomarkers.scorer import Scorer
from finetune.page import words
from finetune.trial.base import patient_replicates
from finetune.trial.patients import ScoredPatients, read_scored
from foundation.statistics.table import Floats

# Of diffuse glioma: genes that the WHO classification of 2021 names, and drivers of TCGA (Ceccarelli et al. 2016).
KNOWN = (
    *("IDH1", "IDH2", "CIC", "FUBP1", "ATRX", "TP53", "TERT", "EGFR", "PTEN", "CDKN2A"),
    *("CDKN2B", "NOTCH1", "NF1", "PIK3CA", "PIK3R1", "PDGFRA", "RB1", "CDK4", "MDM4", "H3-3A"),
)
_LEVEL = 0.1


def main() -> None:
    """Prints the lines of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="output folders of evaluations")
    parser.add_argument("--labels", type=int, default=400, help="permuted labels that false alarms are counted over")
    parser.add_argument("--permutations", type=int, default=9999, help="of labels within hospitals")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines: list[str] = []
    for run in options.runs:
        scored = read_scored(run, ["test"])
        lines += [f"{run}", *gene_lines(scored, options)]
    lines += expression_lines(read_scored(options.runs[0], ["test"]), options)
    print("\n".join(lines))


def gene_lines(scored: ScoredPatients, options: argparse.Namespace) -> list[str]:
    """Ranking, discoveries, false alarms and faithfulness of one model."""
    scorer = Scorer(scored.model, scored.cohort, scored.output)
    genes = explain_genes(scorer, outcome_of(scorer.head, scorer.output, scored.cohort, scored.patients))
    tested = held_out_tests(genes, options.permutations, 5, options.seed)
    order = np.argsort(-genes.importance, kind="stable")
    found = tested.discoveries(0.05)
    told = recovery(genes.genes, genes.importance, Markers(dict.fromkeys(KNOWN, "known")), 25)
    figures = leave_out.figures(
        *deletion(genes.score, genes.attributed, options.seed),
        patient_replicates(genes.outcome.patients, 500, options.seed),
        "measurements",
    ) | infidelity_figures(genes.score, genes.attributed, options.seed)
    share, error, candidates = false_alarms(genes, options)
    return [
        f"  {len(genes.outcome.patients)} patients, {int(np.isfinite(tested.p).sum())} measurements tested",
        "  first by importance: " + ", ".join(genes.names[place] for place in order[:8]),
        f"  rank of known genes: {_ranks(genes)}",
        f"  area of known genes in the ranking {words(told['known_auc'])}, p {words(told['known_auc_p'], 6)}; "
        f"{words(told['known_in_top'], 0)} among the first 25 genes",
        f"  discoveries at q of 0.05: {int(found.sum())}; of labels permuted {tested.false_alarms(0.05).mean():.2f}; "
        f"known among them: {', '.join(_known(genes, found)) or 'none'}",
        f"  any discovery at q of {_LEVEL:g} in labels permuted anew, {candidates} candidates: {share:.3f} "
        f"(SE {error:.3f}; bar {_LEVEL:g} at most)",
        f"  deletion, most important first {words(figures['deletion'], 2)}, random "
        f"{words(figures['deletion_random'], 2)}",
        f"  infidelity {words(figures['infidelity'], 4)}, of shuffled attributions "
        f"{words(figures['infidelity_shuffled'], 4)}",
    ]


def false_alarms(genes: Genes, options: argparse.Namespace) -> tuple[float, float, int]:
    """Share of permuted labels that give any discovery, its standard error, and how many candidates there were.

    The 30 most important that can be tested: of more, 999 permutations could not tell a single one.
    """
    usable = np.flatnonzero(varied(genes.values, 5))
    chosen = usable[np.argsort(-genes.importance[usable], kind="stable")][:30]
    oriented = (genes.values * directions(genes.values, genes.shares))[:, chosen]
    rng = np.random.default_rng(options.seed)
    alarms = []
    for seed in range(options.labels):
        residual = _permuted(genes.outcome.residual, genes.outcome.hospitals, rng)
        tested = permutation_test(oriented, residual, genes.outcome.hospitals, 999, seed)
        alarms.append(bool(tested.discoveries(_LEVEL).any()))
    share = float(np.mean(alarms))
    return share, float(np.sqrt(share * (1 - share) / len(alarms))), len(chosen)


def expression_lines(scored: ScoredPatients, options: argparse.Namespace) -> list[str]:
    """Genes that H&E tells, by channel."""
    tool = FromSlides(["expression", "mutations", "copy_number"], permutations=options.permutations)
    return ["from H&E", *(f"  {line}" for line in tool.run(scored, options.seed).lead)]


def _permuted(residual: Floats, hospitals: np.ndarray, rng: np.random.Generator) -> Floats:
    drawn = residual.copy()
    for name in np.unique(hospitals):
        drawn[hospitals == name] = rng.permutation(residual[hospitals == name])
    return drawn


def _ranks(genes: Genes) -> str:
    """The rank of each known gene among genes, by its most important measurement."""
    best: dict[str, float] = {}
    for gene, value in zip(genes.genes, genes.importance.tolist(), strict=True):
        best[gene] = max(value, best.get(gene, 0.0))
    ranks = {gene: place for place, gene in enumerate(sorted(best, key=lambda gene: -best[gene]), start=1)}
    return ", ".join(f"{gene} {ranks[gene]}" for gene in KNOWN if best.get(gene, 0.0) > 0) + f", of {len(ranks)}"


def _known(genes: Genes, found: np.ndarray) -> list[str]:
    return [name for name, gene, one in zip(genes.names, genes.genes, found, strict=True) if one and gene in KNOWN]


if __name__ == "__main__":
    main()
