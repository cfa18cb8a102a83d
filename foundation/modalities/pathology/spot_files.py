"""Spatial transcriptomics as files hold it: Space Ranger's folders, AnnData, and tables of counts with positions.

Space Ranger (Visium): `filtered_feature_bc_matrix.h5` or its folder of three files, beside it `spatial/` with
positions, scale factors and a picture. AnnData: `obsm["spatial"]` and `uns["spatial"]`, as scanpy writes them. Tables:
a row a spot and a column a gene, beside it a table of `x` and `y`. Positions are pixels of the full-resolution picture.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse
from numpy.typing import NDArray

from foundation.data.image_files import read_image
from foundation.data.problems import refuse
from foundation.data.table_files import Reading, as_text, read_bytes, read_frame
from foundation.modalities.pathology.spot_source import SpotSettings

_AGAIN = "export the sample again, or copy it again"
_KEY = "barcode"
_FAULTS = (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError)


@dataclass(frozen=True)
class SpotFile:
    """One section's spots, as read.

    Attributes:
        counts: sparse `[spots, names]`.
        names: of the genes, as the file has them.
        places: centres `[spots, 2]` (x, y), full-resolution pixels.
        diameter: of a spot, full-resolution pixels; None where nobody says.
        picture: that the file brings, RGB `[height, width, 3]` uint8; None where it brings none.
        scale: pixels of that picture a full-resolution pixel.
    """

    counts: scipy.sparse.csr_matrix
    names: list[str]
    places: NDArray[np.float64]
    diameter: float | None
    picture: NDArray[np.uint8] | None
    scale: float


def read_spot_file(path: Path, settings: SpotSettings) -> SpotFile:
    """One section's spots under tissue.

    Raises:
        DataError: if the file cannot be used, or spots have no place.
    """
    if not path.is_file():
        raise refuse(path, "no such file", "mend its name in the table, or remove the row")
    try:
        if path.suffix == ".h5ad":
            return _anndata(path)
        if path.suffix == ".h5":
            return _visium(path, path.parent, *_matrix_h5(path))
        if path.name.startswith("matrix.mtx"):
            return _visium(path, path.parent.parent, *_matrix_market(path))
    except _FAULTS as error:
        raise refuse(path, f"no spots that are read here, or damaged ({error})", _AGAIN) from error
    return _table(path, settings)


def files_beside(path: Path, settings: SpotSettings) -> list[Path]:
    """What a section's spots are read from besides the file that is listed, in order: names, places and pictures."""
    stem = path.name.partition(".")[0]
    patterns = [] if settings.picture is None else [settings.picture.replace("{stem}", stem)]
    if path.suffix == ".h5":
        patterns.append("spatial/*")
    elif path.name.startswith("matrix.mtx"):
        patterns += ["features.tsv*", "barcodes.tsv*", "../spatial/*"]
    elif path.suffix != ".h5ad":
        patterns.append(settings.positions.replace("{stem}", stem))
    files = {file for pattern in patterns for file in path.parent.glob(pattern) if file.is_file()}
    return sorted(files - {path})


def _matrix_h5(path: Path) -> tuple[scipy.sparse.csr_matrix, list[str], list[str]]:
    import h5py

    with h5py.File(path, "r") as file:
        group = file["matrix"]
        parts = tuple(group[name][()] for name in ("data", "indices", "indptr"))
        matrix = scipy.sparse.csc_matrix(parts, shape=tuple(group["shape"][()])).T.tocsr()
        barcodes, names = (_words(group[name][()]) for name in ("barcodes", "features/name"))
        kinds = _words(group["features/feature_type"][()]) if "feature_type" in group["features"] else []
    return _of_genes(matrix, names, kinds, barcodes)


def _matrix_market(path: Path) -> tuple[scipy.sparse.csr_matrix, list[str], list[str]]:
    zipped = ".gz" if path.suffix == ".gz" else ""
    matrix = scipy.io.mmread(io.BytesIO(read_bytes(path))).T.tocsr()
    features, barcodes = (
        [line.split("\t") for line in read_bytes(path.with_name(f"{name}.tsv{zipped}")).decode().splitlines()]
        for name in ("features", "barcodes")
    )
    names, kinds = [row[1] for row in features], [row[2] for row in features if len(row) > 2]
    return _of_genes(matrix, names, kinds, [row[0] for row in barcodes])


def _of_genes(
    matrix: Any, names: list[str], kinds: list[str], barcodes: list[str]
) -> tuple[scipy.sparse.csr_matrix, list[str], list[str]]:
    """The columns that count genes: antibodies may stand beside them."""
    if matrix.shape != (len(barcodes), len(names)):
        raise ValueError(f"{matrix.shape} counts for {len(barcodes)} spots and {len(names)} genes")
    kept = [place for place, kind in enumerate(kinds) if kind == "Gene Expression"] if kinds else range(len(names))
    return matrix[:, list(kept)], [names[place] for place in kept], barcodes


def _words(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _visium(
    path: Path, folder: Path, counts: scipy.sparse.csr_matrix, names: list[str], barcodes: list[str]
) -> SpotFile:
    spatial = folder / "spatial"
    listing = next((spatial / name for name in _POSITIONS if (spatial / name).is_file()), None)
    if listing is None:
        raise refuse(path, f"no {_POSITIONS[0]} in {spatial.name}/ beside it", "copy Space Ranger's whole folder")
    rows = list(csv.reader(io.StringIO(read_bytes(listing).decode())))
    rows = rows[1:] if rows and rows[0][0] == _KEY else rows
    places = {row[0]: (float(row[5]), float(row[4])) for row in rows if row[1] == "1"}
    outside = {row[0] for row in rows} - places.keys()
    lost = [name for name in barcodes if name not in places and name not in outside]
    if lost:
        raise refuse(listing, f"{len(lost)} spots have no place, the first", _AGAIN, field=_KEY, value=lost[0])
    under = [place for place, name in enumerate(barcodes) if name in places]
    factors = json.loads(read_bytes(spatial / "scalefactors_json.json").decode())
    picture = next((spatial / name for name in _PICTURES if (spatial / name).is_file()), None)
    return SpotFile(
        counts[under],
        names,
        np.array([places[barcodes[place]] for place in under], dtype=np.float64).reshape(-1, 2),
        float(factors["spot_diameter_fullres"]),
        None if picture is None else read_image(picture),
        float(factors["tissue_hires_scalef"]),
    )


_POSITIONS = ("tissue_positions.csv", "tissue_positions_list.csv")
_PICTURES = ("tissue_hires_image.png", "tissue_hires_image.jpg", "tissue_hires_image.tif")


def _anndata(path: Path) -> SpotFile:
    import anndata  # here, for few cohorts have such a file, and it takes a while

    data = anndata.read_h5ad(path)
    if "spatial" not in data.obsm:
        raise refuse(path, "no obsm['spatial']", "write the places of spots there", field="spatial")
    places = np.asarray(data.obsm["spatial"], dtype=np.float64)[:, :2]
    libraries = data.uns.get("spatial", {})
    if len(libraries) > 1:
        names = ", ".join(sorted(map(str, libraries)))
        raise refuse(path, f"{len(libraries)} sections ({names})", "write one file a section", field="uns.spatial")
    library: dict[str, Any] = next(iter(libraries.values()), {})
    factors, images = library.get("scalefactors", {}), library.get("images", {})
    under = np.ones(len(places), bool) if "in_tissue" not in data.obs else data.obs["in_tissue"].to_numpy() == 1
    diameter = factors.get("spot_diameter_fullres")
    return SpotFile(
        scipy.sparse.csr_matrix(data.X)[under],
        [str(name) for name in data.var_names],
        places[under],
        None if diameter is None else float(diameter),
        _bytes(path, images["hires"]) if "hires" in images else None,
        float(factors.get("tissue_hires_scalef", 1.0)),
    )


def _bytes(path: Path, picture: Any) -> NDArray[np.uint8]:
    """A picture of AnnData, which scanpy reads as numbers from 0 to 1."""
    values = np.asarray(picture)[..., :3]
    if values.dtype == np.uint8:
        return values
    if values.min() < 0 or values.max() > 1:
        raise refuse(path, "a picture of numbers outside 0 to 1", "write it as bytes", field="images.hires")
    return np.asarray((values * 255).round(), dtype=np.uint8)


def _table(path: Path, settings: SpotSettings) -> SpotFile:
    table = read_frame(path, settings, Reading((), numbers=True))
    key = table.names[0]
    counts = table.frame.drop(columns=key)
    words = [name for name in counts if not pd.api.types.is_numeric_dtype(counts[name])]
    if words:
        raise refuse(path, "text where counts belong", "leave columns of counts, after that of spots", str(words[0]))
    listing = path.parent / settings.positions.replace("{stem}", path.name.partition(".")[0])
    where = read_frame(listing, settings, Reading((key,)))
    for name in (key, "x", "y"):
        if name not in where.names:
            raise refuse(listing, "no such column", f"give {key}, x and y of each spot", field=name)
    places = where.frame[["x", "y"]].apply(pd.to_numeric, errors="coerce").set_index(as_text(where.frame[key]))
    wrong = places.index[places.isna().any(axis=1)]
    if len(wrong):
        raise refuse(listing, "a place that is no number", "give pixels of the picture", "x, y", value=wrong[0])
    spots = as_text(table.frame[key])
    lost = spots[~spots.isin(places.index)]
    if len(lost) or places.index.duplicated().any():
        value = lost.iloc[0] if len(lost) else places.index[places.index.duplicated()][0]
        raise refuse(listing, "a spot without a place, or with two", "give each one row", field=key, value=value)
    matrix = scipy.sparse.csr_matrix(counts.fillna(0).to_numpy(dtype=np.float64))
    return SpotFile(matrix, [str(name) for name in counts], places.loc[spots].to_numpy(), settings.diameter, None, 1.0)
