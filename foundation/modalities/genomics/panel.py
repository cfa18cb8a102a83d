"""The cohort's genes: one order for all hospitals."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from foundation.data.problems import refuse


def align(table: pd.DataFrame, genes: list[str], path: Path, smallest: float) -> pd.DataFrame:
    """Columns exactly the cohort's genes, NaN where not measured.

    Args:
        table: `[patients, symbols]`.
        genes: approved symbols.
        path: where the table was read.
        smallest: share of the genes that it must hold.

    Raises:
        DataError: if it holds fewer.
    """
    missing = [gene for gene in genes if gene not in table.columns]
    share = 1 - len(missing) / max(len(genes), 1)
    if share < smallest:
        finding = f"{share:.0%} of the cohort's {len(genes)} genes, {smallest:.0%} wanted; the first missing is"
        advice = "check that genes are named by symbol, or lower smallest_coverage in cohort.yaml"
        raise refuse(path, finding, advice, field="gene", value=missing[0])
    return table.reindex(columns=genes)


def union(tables: Iterable[pd.DataFrame]) -> list[str]:
    """Every symbol of several tables, sorted."""
    return sorted(set().union(*(table.columns for table in tables)))
