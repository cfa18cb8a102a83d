"""Gene expression of a hospital: CSV, TSV, Parquet or AnnData."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import refuse
from foundation.data.tables import nearest
from foundation.data.units import LINEAR, check_unit
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import (
    GeneTable,
    as_numbers,
    by_symbol,
    patients_of,
    read_matrix,
)


def read_expression(path: Path, unit: str, source: GeneSource, vocabulary: GeneVocabulary) -> GeneTable:
    """Expression by approved symbol, in the file's own unit.

    Several columns of one gene are added where the unit is linear (counts, TPM, FPKM).

    Raises:
        DataError: if the file cannot be used, or its values cannot be in that unit.
    """
    cells = _anndata(path, source) if path.suffix == ".h5ad" else read_matrix(path, source)
    merge = (lambda columns: columns.sum(axis=1, min_count=1)) if unit in LINEAR else None
    values, notes = by_symbol(cells, vocabulary, path, merge)
    notes += check_unit(values, unit, path)
    if source.clip is not None:
        values = values.clip(-source.clip, source.clip)
    return GeneTable(values, notes)


def _anndata(path: Path, source: GeneSource) -> pd.DataFrame:
    """The matrix `[patients, names]` of an AnnData file (Virshup et al. 2024)."""
    if not path.is_file():
        raise refuse(path, "missing", "put it there")
    try:
        data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise refuse(path, f"no AnnData file, or damaged ({error})", "write it again") from error
    if source.layer is not None and source.layer not in data.layers:
        advice = nearest(source.layer, data.layers, "give one of its layers, or none for X")
        raise refuse(path, "no such layer", advice, field=source.layer)
    matrix = data.X if source.layer is None else data.layers[source.layer]
    if matrix is None:
        raise refuse(path, "no matrix X", "declare the layer that holds expression", field="X")
    if source.key is not None and source.key not in data.obs:
        advice = nearest(source.key, map(str, data.obs.columns), "declare the column of obs")
        raise refuse(path, "no such column in obs", advice, field=source.key)
    keys = data.obs_names.to_series() if source.key is None else data.obs[source.key]
    index = patients_of(path, keys.astype("string"), source, source.key or "obs_names")
    dense = matrix.toarray() if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    names = data.var_names.to_series()
    repeated = names.groupby(names).cumcount()
    columns = names + repeated.map(lambda n: f"|{n}" if n else "")
    return as_numbers(pd.DataFrame(dense, index=index, columns=columns.to_numpy()), path)
