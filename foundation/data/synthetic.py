"""The embedded cohort: synthetic patients at four hospitals, driven by hidden disease factors, openly labelled so.

Four factors drive everything that a patient shows: `proliferation` (cell density, cycle genes), `atypia` (nuclear size,
lesion contrast), `stroma` (fibre bands, matrix genes) and `immunity` (small dark cells, lymphocyte genes). Hospitals
differ in stain, noise, unit of expression and prevalence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from PIL import Image

from foundation.errors import UserError
from foundation.files import replacing_folder, write_text

FACTORS = ("proliferation", "atypia", "stroma", "immunity")
GENES = Path(__file__).with_name("genes_demo.txt")
_MUTATED = 20
_SIDE = 64
_GRADES = ("low", "moderate", "high")


@dataclass(frozen=True)
class Site:
    """A synthetic hospital: its stain (RGB gains), noise, unit, mean of the factors and what it lacks."""

    name: str
    patients: int
    stain: tuple[float, float, float]
    noise: float
    unit: str
    shift: float
    lacks: tuple[str, ...] = ()


SITES = (
    Site("riverside", 66, (1.00, 0.97, 1.00), 4.0, "log2_tpm", 0.0),
    Site("northgate", 56, (0.94, 1.00, 0.97), 7.0, "log2_tpm", 0.3, ("genomics",)),
    Site("lakeview", 56, (1.00, 1.00, 1.00), 5.0, "tpm", -0.2, ("pathology", "radiology")),
    Site("summit", 62, (0.97, 0.93, 1.00), 6.0, "log2_tpm", 0.2),
)


def write(root: Path, seed: int = 0, sites: Sequence[Site] | None = None) -> None:
    """Writes the cohort as site folders.

    Args:
        root: replaced whole; `cohort.yaml` and a folder a hospital.
        seed: everything follows from it.
        sites: hospitals, `SITES` if None; one that differs in stain and noise alone has the same patients.

    Raises:
        UserError: if something else than synthetic patients lies there.
    """
    sites = SITES if sites is None else sites
    _refuse_real_data(root)
    rng = np.random.default_rng(seed)
    genes = GENES.read_text().split()
    loading = _loadings(rng, len(genes))
    baseline = rng.uniform(3, 8, len(genes))
    with replacing_folder(root) as temporary:
        for site in sites:
            of_site = np.random.default_rng([seed, *site.name.encode()])
            _write_site(temporary / site.name, site, genes, loading, baseline, of_site)
        write_text(temporary / "cohort.yaml", yaml.safe_dump(_declaration(genes, sites), sort_keys=False))


def _refuse_real_data(root: Path) -> None:
    """Nothing that this module did not write is ever replaced."""
    declared = root / "cohort.yaml"
    if not root.exists() or (declared.is_file() and yaml.safe_load(declared.read_text()).get("synthetic") is True):
        return
    raise UserError(
        f"{root}: holds no synthetic cohort, so it is not replaced by one; "
        "to prepare what lies there, say cohort=folder cohort.name=... cohort.root=..."
    )


def _loadings(rng: np.random.Generator, genes: int) -> NDArray[np.float64]:
    """Each gene follows mostly one factor: `[factors, genes]`."""
    loading = rng.normal(0, 0.15, (len(FACTORS), genes))
    loading[rng.integers(len(FACTORS), size=genes), np.arange(genes)] += rng.choice([-1, 1], genes) * rng.uniform(
        0.4, 1.2, genes
    )
    return loading


def _declaration(genes: list[str], sites: Sequence[Site]) -> dict[str, Any]:
    return {
        "name": "demo",
        "synthetic": True,
        "description": "Synthetic patients written by foundation.data.synthetic; no person stands behind any row.",
        "hospitals": [site.name for site in sites],
        "expression_units": {site.name: site.unit for site in sites},
        "dictionary": {
            "genes": genes,
            "expression_unit": "log2_tpm",
            "record": [
                {"name": "age", "kind": "continuous", "center": 60.0, "scale": 12.0},
                {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
                {"name": "grade", "kind": "categorical", "values": ["G1", "G2", "G3"]},
                {"name": "ldh", "kind": "continuous", "center": 250.0, "scale": 60.0},
            ],
            "labels": ["biomarker"],
            "survival": {"event": "os_event", "time": "os_days"},
        },
    }


def _write_site(
    folder: Path,
    site: Site,
    genes: list[str],
    loading: NDArray[np.float64],
    baseline: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    folder.mkdir()
    ids = [f"{site.name[:2].upper()}{index:04d}" for index in range(site.patients)]
    factors = rng.normal(site.shift, 1, (site.patients, len(FACTORS)))
    presence = _presence(site, rng)
    age = np.clip(rng.normal(60, 12, site.patients), 21, 90).round()
    sex = rng.choice(["F", "M"], site.patients)
    score = 1.4 * factors[:, 0] + 1.2 * factors[:, 1] - 0.8 * factors[:, 3] - 0.5
    biomarker = (rng.random(site.patients) < 1 / (1 + np.exp(-2 * score))).astype(int)
    hazard = np.exp(0.7 * factors[:, 0] + 0.5 * factors[:, 1] - 0.4 * factors[:, 3] + 0.03 * (age - 60)) / 1500
    death, end = rng.exponential(1 / hazard), rng.uniform(300, 3000, site.patients)
    source = "synthetic"
    pd.DataFrame(
        {
            "patient_id": ids,
            "source": source,
            "biomarker": biomarker,
            "os_event": (death <= end).astype(int),
            "os_days": np.minimum(death, end).round().clip(1),
        }
    ).to_csv(folder / "patients.csv", index=False)
    drawers = {"pathology": (draw_tile, 4), "radiology": (draw_slice, 3)}
    for name, (draw, count) in drawers.items():
        if name in site.lacks:
            continue
        (folder / name).mkdir()
        rows = []
        for index in np.flatnonzero(presence[name]):
            for number in range(count):
                file = f"{name}/{ids[index]}_{number}.png"
                Image.fromarray(draw(factors[index], site, rng)).save(folder / file)
                rows.append({"patient_id": ids[index], "file": file, "source": source})
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    if "genomics" not in site.lacks:
        _write_genomics(folder, site, genes, ids, factors, presence["genomics"], loading, baseline, rng)
    texts = [report(row, rng) for row in factors]
    frame = pd.DataFrame({"patient_id": ids, "text": texts, "source": source})
    frame[presence["report"]].to_csv(folder / "reports.csv", index=False)
    grade = pd.cut(
        factors[:, :2].mean(1) + rng.normal(0, 0.4, site.patients), [-9, -0.4, 0.6, 9], labels=["G1", "G2", "G3"]
    )
    ldh = (250 + 45 * factors[:, 0] - 25 * factors[:, 3] + rng.normal(0, 30, site.patients)).round()
    frame = pd.DataFrame({"patient_id": ids, "age": age, "sex": sex, "grade": grade, "ldh": ldh, "source": source})
    frame.loc[rng.random(site.patients) < 0.1, "ldh"] = np.nan
    frame[presence["record"]].to_csv(folder / "record.csv", index=False)


def _presence(site: Site, rng: np.random.Generator) -> dict[str, NDArray[np.bool_]]:
    """Who has what: a tenth of the patients one modality alone, the others most."""
    names = ["pathology", "radiology", "genomics", "report", "record"]
    chance = {"pathology": 0.95, "radiology": 0.7, "genomics": 0.9, "report": 0.9, "record": 0.95}
    presence = {name: rng.random(site.patients) < chance[name] for name in names}
    for index in range(0, site.patients, 10):
        for name in names:
            presence[name][index] = False
        presence[rng.choice([name for name in names if name not in site.lacks])][index] = True
    for name in site.lacks:
        presence[name][:] = False
    nobody = ~np.stack([presence[name] for name in names]).any(axis=0)
    presence["record"] |= nobody
    return presence


def _write_genomics(
    folder: Path,
    site: Site,
    genes: list[str],
    ids: list[str],
    factors: NDArray[np.float64],
    measured: NDArray[np.bool_],
    loading: NDArray[np.float64],
    baseline: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    log2 = np.clip(baseline + factors @ loading + rng.normal(0, 0.5, (len(ids), len(genes))), 0, None)
    values = np.exp2(log2) - 1 if site.unit == "tpm" else log2
    rate = 1 / (1 + np.exp(-(-2 + factors @ loading[:, :_MUTATED] * 1.5)))
    mutated = (rng.random(rate.shape) < rate).astype(int)
    copies = np.clip(np.round(factors @ loading[:, _MUTATED : 2 * _MUTATED]), -2, 2).astype(int)
    tables = {
        "expression": pd.DataFrame(values.round(3), columns=genes),
        "mutations": pd.DataFrame(mutated, columns=genes[:_MUTATED]),
        "copy_number": pd.DataFrame(copies, columns=genes[_MUTATED : 2 * _MUTATED]),
    }
    for name, table in tables.items():
        table.insert(0, "patient_id", ids)
        table[measured].to_csv(folder / f"{name}.csv", index=False)


def draw_tile(factors: NDArray[np.float64], site: Site, rng: np.random.Generator) -> NDArray[np.uint8]:
    """An H&E-like tile `[64, 64, 3]`: fibres by stroma, nuclei by proliferation (number) and atypia (size)."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    angle = rng.uniform(0, np.pi)
    bands = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 0.55 + rng.uniform(0, 6))
    tile = np.array([228.0, 178.0, 208.0]) - (12 + 14 * np.clip(factors[2] + 1.5, 0, 4))[..., None] * (
        bands[..., None] > 0.3
    ) * [0.3, 1, 0.6]
    nuclei = rng.poisson(np.clip(14 + 8 * factors[0], 2, 50))
    small = rng.poisson(np.clip(8 + 7 * factors[3], 0, 40))
    for count, radius, colour in (
        (nuclei, np.clip(2.8 + 0.9 * factors[1], 1.4, 6), (105, 70, 150)),
        (small, 1.2, (45, 30, 95)),
    ):
        for _ in range(count):
            cy, cx = rng.uniform(0, _SIDE, 2)
            squash = rng.uniform(0.7, 1.3)
            tile[((y - cy) / squash) ** 2 + ((x - cx) * squash) ** 2 < (radius * rng.uniform(0.8, 1.2)) ** 2] = colour
    tile = tile * site.stain + rng.normal(0, site.noise, tile.shape)
    return np.asarray(np.clip(tile, 0, 255), dtype=np.uint8)


def draw_slice(factors: NDArray[np.float64], site: Site, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A scan's slice `[64, 64, 3]`: a lesion whose size follows proliferation, brightness atypia, rim immunity."""
    y, x = np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2
    slice_ = np.where((x / 28) ** 2 + (y / 30) ** 2 < 1, 85.0, 12.0)
    cy, cx = rng.uniform(-10, 10, 2)
    distance = np.hypot(y - cy, x - cx)
    radius = np.clip(8 + 3 * factors[0] + rng.normal(0, 0.6), 3, 18)
    slice_[distance < radius] = np.clip(140 + 32 * factors[1], 60, 235)
    slice_[np.abs(distance - radius) < 1.5] = np.clip(130 + 40 * factors[3], 40, 250)
    slice_ = slice_ + rng.normal(0, 2 * site.noise, slice_.shape)
    return np.repeat(np.clip(slice_, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def report(factors: NDArray[np.float64], rng: np.random.Generator) -> str:
    """A short report in graded words, said to be synthetic."""
    words = [_GRADES[int(np.digitize(value + rng.normal(0, 0.3), [-0.5, 0.6]))] for value in factors]
    sentences = [
        f"Cellularity is {words[0]} with {words[0]} mitotic activity.",
        f"Nuclear atypia is {words[1]}.",
        f"Stromal fibrosis is {words[2]}.",
        f"Lymphocytic infiltration is {words[3]}.",
    ]
    return "Synthetic report. " + " ".join(sentences[index] for index in rng.permutation(len(sentences)))
