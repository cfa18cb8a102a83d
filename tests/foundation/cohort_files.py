"""A small cohort of two hospitals that tests write: every modality, nothing wrong with it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from tests.foundation.scan_files import write_nifti, write_series
from tests.foundation.slide_files import tissue

GENES = ["TP53", "EGFR", "PTEN", "IDH1", "ATRX", "NF1", "PIK3CA", "RB1", "CDK4", "MDM2"]
PATIENTS = 24


def declared() -> dict[str, object]:
    """`cohort.yaml` as plain values."""
    record = [
        {"name": "age", "kind": "continuous", "center": 60, "scale": 12},
        {"name": "sex", "kind": "categorical", "values": ["female", "male"]},
    ]
    dictionary = {
        "genes": GENES,
        "record": record,
        "labels": ["glioblastoma"],
        "survival": {"event": "os_event", "time": "os_days"},
    }
    return {
        "name": "small",
        "synthetic": True,
        "description": "written by tests",
        "hospitals": ["north", "south"],
        "dictionary": dictionary,
    }


def write_cohort(root: Path) -> Path:
    """Hospital `north` has tables, images and scans; `south` tables of other kinds, text files and tile features."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "cohort.yaml").write_text(yaml.safe_dump(declared()))
    for seed, name in enumerate(("north", "south")):
        _write_tables(root / name, name[0].upper(), np.random.default_rng(seed))
    _write_north(root / "north")
    _write_south(root / "south")
    return root


def edit(path: Path, **columns: object) -> None:
    """Overwrites a CSV table's cells: column → value for its first row, or a function of the column."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, value in columns.items():
        table[name] = value(table[name]) if callable(value) else [value, *table[name].iloc[1:]]
    table.to_csv(path, index=False)


def declare_otherwise(root: Path, **changes: object) -> None:
    """Changes the declaration at its top."""
    path = root / "cohort.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def cut(path: Path, share: float = 0.6) -> None:
    """Keeps the beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def picture(seed: int, size: int = 64) -> np.ndarray:
    """A stained region like no other."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.random((size // 8, size // 8)) < 0.5, np.ones((8, 8)))[..., None]
    return np.clip(tissue(size, size, seed) - 60 * patches, 0, 255).astype(np.uint8)


def _write_tables(folder: Path, letter: str, rng: np.random.Generator) -> None:
    folder.mkdir()
    ids = [f"{letter}{number:03}" for number in range(PATIENTS)]
    index = pd.Index(ids, name="patient_id")
    patients = {
        "glioblastoma": rng.permutation(np.arange(PATIENTS) % 2),
        "os_event": rng.permutation(np.arange(PATIENTS) % 2),
        "os_days": rng.integers(30, 2000, PATIENTS),
        "birth_date": "1960-05-01",
        "diagnosis_date": "2019-03-01",
        "last_contact_date": "2023-06-01",
    }
    pd.DataFrame(patients, index).to_csv(folder / "patients.csv")
    record = {"age": rng.integers(30, 80, PATIENTS), "sex": rng.permutation(np.resize(["female", "male"], PATIENTS))}
    pd.DataFrame(record, index).to_csv(folder / "record.csv")
    levels = rng.gamma(2, 2, (PATIENTS, len(GENES))).round(3)
    pd.DataFrame(levels, index, GENES).to_csv(folder / "expression.csv")
    pd.DataFrame(rng.integers(0, 2, levels.shape), index, GENES).to_csv(folder / "mutations.csv")
    pd.DataFrame(rng.integers(-2, 3, levels.shape), index, GENES).to_csv(folder / "copy_number.csv")


def _write_north(folder: Path) -> None:
    rows = []
    (folder / "pathology").mkdir()
    for number in range(3):
        for part in range(2):
            name = f"pathology/N{number:03}_{part}.{'png' if part else 'jpg'}"
            Image.fromarray(picture(10 * number + part)).save(folder / name)
            rows.append((f"N{number:03}", name))
    pd.DataFrame(rows, columns=["patient_id", "file"]).to_csv(folder / "pathology.csv", index=False)
    write_series(folder / "radiology" / "N003")
    write_nifti(folder / "radiology" / "N004.nii.gz")
    texts = {"patient_id": ["N000", "N001"], "text": ["Glioma of the left lobe.", "Necrosis, many mitoses."]}
    pd.DataFrame({**texts, "date": ["2019-03-02", "2019-03-03"]}).to_csv(folder / "reports.csv", index=False)


def _write_south(folder: Path) -> None:
    (folder / "features").mkdir()
    (folder / "reports").mkdir()
    rng = np.random.default_rng(5)
    for number in range(2):
        with h5py.File(folder / "features" / f"S{number:03}.h5", "w") as file:
            file["features"] = rng.normal(size=(6, 16)).astype(np.float32)
            file["coords"] = rng.integers(0, 5000, (6, 2))
        (folder / "reports" / f"S{number:03}_2019-03-05.txt").write_text(f"Oligodendroglioma, report {number}.")
    (folder / "notes.json").write_text(json.dumps({"kept": "nobody reads this"}))
