"""Known markers that the user brings, and where they stand in a ranking."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, mannwhitneyu

from foundation.errors import UserError
from foundation.modalities.genomics.pathways import read_gmt
from foundation.statistics.figure import Figure
from foundation.statistics.table import Floats

_COLUMN = "gene"


@dataclass(frozen=True)
class Markers:
    """Genes that are known beforehand.

    Attributes:
        notes: what is known of each, by symbol; the name of its sets, or the words of a table.
    """

    notes: dict[str, str]

    def note(self, gene: str) -> str:
        return self.notes.get(gene, "")


def read_markers(path: Path) -> Markers:
    """Of a GMT file, or a CSV with a column `gene` and whatever else is to stand beside it.

    Raises:
        UserError: if it is neither.
    """
    if path.suffix.lower() == ".gmt":
        notes: dict[str, list[str]] = {}
        for name, members in read_gmt(path, "evidence.known").items():
            for gene in members:
                notes.setdefault(gene, []).append(name)
        return Markers({gene: ", ".join(names) for gene, names in notes.items()})
    if not path.is_file():
        raise UserError(f"evidence.known: {path}: no such file; give a GMT file, or a CSV with a column '{_COLUMN}'")
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UserError(f"evidence.known: {path} is not readable ({error}); give a CSV in UTF-8") from error
    if _COLUMN not in table:
        raise UserError(
            f"evidence.known: {path} has columns {', '.join(map(str, table))}; it needs one named '{_COLUMN}'"
        )
    table = table.dropna(subset=[_COLUMN])
    others = [name for name in table if name != _COLUMN]
    rows = table.groupby(_COLUMN)[others].agg(lambda words: ", ".join(dict.fromkeys(words.dropna())))
    return Markers({str(gene): ", ".join(filter(None, map(str, row))) or "known" for gene, row in rows.iterrows()})


def recovery(genes: list[str], importance: Floats, markers: Markers, top: int) -> dict[str, Figure]:
    """How high known markers stand among genes, each ranked by its most important candidate.

    Args:
        genes: of each candidate, `[candidates]`.
        importance: of each, `[candidates]`.
        markers: known beforehand.
        top: of the ranking, how many genes are called its head.
    """
    best = pd.Series(importance).groupby(np.array(genes)).max().sort_values(ascending=False)
    known = np.array([gene in markers.notes for gene in best.index])
    count = int(known.sum())
    estimator = "area under the curve of known markers against other genes by importance (Mann & Whitney 1947)"
    facts = (len(best), {"known": count, "other": len(best) - count})
    if not count or known.all():
        reason = "no known marker is among the genes" if not count else "all genes are known markers"
        return {"known_auc": Figure(None, None, None, *facts, estimator, reason=reason)}
    test = mannwhitneyu(best[known], best[~known], alternative="greater")
    head = int(known[:top].sum())
    p = float(hypergeom.sf(head - 1, len(best), count, min(top, len(best))))
    return {
        "known_auc": Figure(float(test.statistic) / (count * (len(best) - count)), None, None, *facts, estimator),
        "known_auc_p": Figure(float(test.pvalue), None, None, *facts, "p of the same, one-sided"),
        "known_in_top": Figure(float(head), None, None, *facts, f"known markers among the first {top} genes"),
        "known_in_top_p": Figure(p, None, None, *facts, "p of as many by chance, hypergeometric"),
    }
