"""Gene expression of a hospital: CSV, TSV, Parquet or AnnData."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.columns import nearest
from foundation.data.genes import GeneVocabulary
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.units import BASES, HIGHEST_LOG2, LINEAR, base_of, check_unit
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import (
    GeneTable,
    as_numbers,
    read_matrix,
)
from foundation.modalities.genomics.sample_choice import SampleChoice
from foundation.modalities.genomics.symbols import by_symbol

if TYPE_CHECKING:
    import anndata


def read_expression(
    path: Path, unit: str, source: GeneSource, vocabulary: GeneVocabulary, landmarks: Landmarks | None = None
) -> GeneTable:
    """Expression by approved symbol, in the file's own unit.

    Several columns of one gene are added where the unit is linear (counts, TPM, FPKM).

    Raises:
        DataError: if the file cannot be used, or its values cannot be in that unit.
    """
    if path.suffix == ".h5ad":
        read = _anndata(path, source, unit, landmarks)
    else:
        read = read_matrix(path, source, vocabulary, landmarks=landmarks)
    merge = (lambda columns: columns.sum(axis=1, min_count=1)) if unit in LINEAR else None
    values, notes = by_symbol(read.values, vocabulary, path, merge)
    if source.clip is not None:
        values = values.clip(-source.clip, source.clip)
    notes += check_unit(values, unit, path, source.offset)
    return GeneTable(values, read.notes + notes, read.steps)


def _anndata(path: Path, source: GeneSource, unit: str, landmarks: Landmarks | None) -> GeneTable:
    """The matrix `[patients, names]` of an AnnData file (Virshup et al. 2024), held against the unit declared."""
    import anndata  # here, for few cohorts have such a file, and these take a while
    import scipy.sparse

    if not path.is_file():
        raise refuse(path, "missing", "put it there")
    try:
        data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise refuse(path, f"no AnnData file, or damaged ({error})", "write it again") from error
    raw = source.layer == "raw" and "raw" not in data.layers and data.raw is not None
    if source.layer is not None and source.layer not in data.layers and not raw:
        advice = nearest(source.layer, data.layers, "give one of its layers, raw, or none for X")
        raise refuse(path, "no such layer", advice, field=source.layer)
    matrix = data.raw.X if raw else data.X if source.layer is None else data.layers[source.layer]
    if matrix is None:
        raise refuse(path, "no matrix X", "declare the layer that holds expression", field="X")
    _check_logarithm(path, data, source, unit, matrix.data if scipy.sparse.issparse(matrix) else np.asarray(matrix))
    if source.key is not None and source.key not in data.obs:
        advice = nearest(source.key, map(str, data.obs.columns), "declare the column of obs")
        raise refuse(path, "no such column in obs", advice, field=source.key)
    keys = data.obs_names.to_series() if source.key is None else data.obs[source.key]
    names = pd.Series(keys.astype("string").to_numpy(), dtype="string")
    notes = Problems()
    chosen = SampleChoice(path, source, source.key or "obs_names", landmarks, notes)
    kept, index = chosen.of(names, data.obs)
    dense = matrix.toarray() if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    names = (data.raw.var_names if raw else data.var_names).to_series()
    repeated = names.groupby(names).cumcount()
    columns = names + repeated.map(lambda n: f"|{n}" if n else "")
    cells = pd.DataFrame(dense[kept.to_numpy()], index=index, columns=columns.to_numpy())
    values = chosen.once(as_numbers(cells, path, source, "patient"))
    if source.layer is None and data.raw is not None and bool((values < 0).any(axis=None)) and unit != "zscore":
        finding = "X has negative values, and raw holds the values before scaling"
        notes.warn(path, finding, "say layer: raw, or unit: zscore", field="layer")
    return GeneTable(values, notes.listed, notes.steps)


def _check_logarithm(
    path: Path, data: "anndata.AnnData", source: GeneSource, unit: str, values: NDArray[np.generic]
) -> None:
    """What scanpy's `log1p` wrote of itself, against the unit declared.

    It does not say of which matrix it speaks: a layer may hold the logarithms while X or raw holds what they are of,
    which whole numbers of counts, or numbers too high for a logarithm, show.

    Args:
        path: of the file.
        data: as read.
        source: its declaration.
        unit: declared.
        values: of the matrix that is read, any shape.

    Raises:
        DataError: if the base is another one, or the matrix was logarithmised and the unit says that it was not.
    """
    if "log1p" not in data.uns:
        return
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    whole = unit == "counts" and bool((known == np.floor(known)).all())
    if unit in LINEAR and known.size and (whole or known.max() > HIGHEST_LOG2):
        return
    written = data.uns["log1p"]
    base = written.get("base") if isinstance(written, Mapping) else None
    base = math.e if base is None else float(base)  # scanpy's None, which some versions do not write
    declared = base_of(unit)
    logarithm = next((name for name, value in BASES.items() if math.isclose(value, base)), f"base {base:g}")
    if declared is None and (unit == "zscore" or source.layer not in (None, "raw")):
        return
    if declared is None or not math.isclose(declared, base):
        linear = unit.partition("_")[2] or unit
        advice = f"say unit: {logarithm}_{linear}" if logarithm in BASES else "export values without a logarithm"
        raise refuse(path, f"its values are {logarithm} logarithms, not {unit}", advice, "uns.log1p", value=base)
