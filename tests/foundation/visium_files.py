"""Synthetic spatial transcriptomics: a section is red where TP53 is expressed, blue where EGFR is; PTEN is anywhere."""

import json
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse
import yaml
from numpy.typing import NDArray
from PIL import Image

GENES = ["TP53", "EGFR", "PTEN"]
GRID, STEP, DIAMETER, SCALE = 8, 40, 20, 0.5  # spots a side; full-resolution pixels between and across; of the picture


def places() -> NDArray[np.float64]:
    """Centres `[spots, 2]` (x, y), full-resolution pixels."""
    line = np.arange(GRID) * STEP + STEP
    return np.array([(x, y) for y in line for x in line], dtype=float)


def draw_section(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A picture `[height, width, 3]` at `SCALE`, and counts `[spots, genes + 1]`; ENSG of no gene comes last."""
    rng = np.random.default_rng(seed)
    red = rng.integers(0, 2, GRID * GRID)
    side = int((GRID + 1) * STEP * SCALE)
    picture = np.full((side, side, 3), 200, np.uint8)
    half = int(STEP * SCALE / 2)
    for (x, y), is_red in zip((places() * SCALE).astype(int), red, strict=True):
        picture[y - half : y + half, x - half : x + half] = (220, 60, 60) if is_red else (60, 60, 220)
    tp53, egfr = rng.poisson(2 + 40 * red), rng.poisson(2 + 40 * (1 - red))
    return picture, np.stack([tp53, egfr, rng.poisson(20, len(red)), rng.poisson(200, len(red))], 1)


def barcodes() -> list[str]:
    return [f"SPOT{number:03}-1" for number in range(GRID * GRID)]


def write_visium(folder: Path, seed: int, outside: int = 3, header: bool = True) -> NDArray[np.int64]:
    """Space Ranger's folder of one section, of which the first spots lie outside the tissue; the counts."""
    picture, counts = draw_section(seed)
    (folder / "spatial").mkdir(parents=True)
    matrix = scipy.sparse.csc_matrix(counts.T)
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = np.array(matrix.shape)
        group["barcodes"] = np.array(barcodes(), "S")
        group["features/name"] = np.array([*GENES, "ANTIBODY"], "S")
        group["features/id"] = np.array([*GENES, "ANTIBODY"], "S")
        group["features/feature_type"] = np.array([*["Gene Expression"] * 3, "Antibody Capture"], "S")
    rows = [
        f"{name},{int(number >= outside)},{number // GRID},{number % GRID},{y:.0f},{x:.0f}\n"
        for number, (name, (x, y)) in enumerate(zip(barcodes(), places(), strict=True))
    ]
    names = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"
    listing = "tissue_positions.csv" if header else "tissue_positions_list.csv"
    (folder / "spatial" / listing).write_text((names if header else "") + "".join(rows))
    factors = {"spot_diameter_fullres": DIAMETER, "tissue_hires_scalef": SCALE}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    Image.fromarray(picture).save(folder / "spatial" / "tissue_hires_image.png")
    return counts[outside:, :3]


def write_anndata(path: Path, seed: int) -> NDArray[np.int64]:
    """The same as scanpy writes it, its picture as numbers from 0 to 1."""
    picture, counts = draw_section(seed)
    data = anndata.AnnData(scipy.sparse.csr_matrix(counts[:, :3].astype(np.float32)))
    data.obs_names, data.var_names = pd.Index(barcodes()), pd.Index(GENES)
    data.obsm["spatial"] = places()
    factors = {"spot_diameter_fullres": float(DIAMETER), "tissue_hires_scalef": SCALE}
    data.uns["spatial"] = {"section": {"images": {"hires": picture / 255}, "scalefactors": factors}}
    path.parent.mkdir(parents=True, exist_ok=True)
    data.write_h5ad(path)
    return counts[:, :3]


def write_tables(folder: Path, seed: int) -> NDArray[np.int64]:
    """Counts, positions, and a picture at full resolution."""
    picture, counts = draw_section(seed)
    folder.mkdir(parents=True)
    index = pd.Index(barcodes(), name="spot")
    pd.DataFrame(counts[:, :3], index, GENES).to_csv(folder / "counts.csv")
    pd.DataFrame(places() * SCALE, index, ["x", "y"]).iloc[::-1].to_csv(folder / "positions.csv")
    Image.fromarray(picture).save(folder / "section.png")
    return counts[:, :3]


def write_cohort(root: Path, patients: int = 4, **pathology: object) -> Path:
    """Two hospitals of Visium folders, and a record so that a patient has something else."""
    declared = {"name": "spatial", "synthetic": True, "description": "x", "hospitals": ["a", "b"]}
    sources = {"pathology": {"form": "visium", "tile": 32, **pathology}}
    dictionary = {"genes": GENES}
    (root).mkdir(parents=True, exist_ok=True)
    (root / "cohort.yaml").write_text(yaml.safe_dump({**declared, "sources": sources, "dictionary": dictionary}))
    for number, hospital in enumerate(("a", "b")):
        names = [f"{hospital}{place}" for place in range(patients)]
        for place, name in enumerate(names):
            write_visium(root / hospital / "visium" / name / "outs", 10 * number + place)
        (root / hospital / "patients.csv").write_text("patient_id\n" + "".join(f"{name}\n" for name in names))
    return root
