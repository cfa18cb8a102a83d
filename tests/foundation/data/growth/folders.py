"""Folders of two small hospitals, and what happens to them before they are prepared again."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

DECLARED = {
    "name": "own",
    "synthetic": True,
    "description": "Made by a test.",
    "hospitals": ["alpha", "beta"],
    "withdrawn": "withdrawn.txt",
    "dictionary": {
        "genes": ["TP53", "IDH1"],
        "record": [{"name": "age", "kind": "continuous"}, {"name": "sex", "kind": "categorical", "values": ["F", "M"]}],
        "labels": ["idh"],
        "survival": {"event": "os_event", "time": "os_days"},
    },
}
Edit = Callable[[Path], object]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def edit(path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    rows = rows_of(path)
    after = change(rows)
    with path.open("w") as file:
        writer = csv.DictWriter(file, (after or rows)[0].keys(), quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(after)


def picture(patient: str, number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng([number, *patient.encode()]).integers(0, 255, (6, 5, 3), np.uint8))


def admit(folder: Path, patient: str, images: int = 1) -> None:
    """Adds a patient with a row in every table."""
    number = int(patient[1:])
    rows = {
        "patients.csv": ["patient_id,idh,os_event,os_days", f"{patient},{number % 2},1,{100 + number}"],
        "record.csv": ["patient_id,age,sex", f"{patient},{40 + number},{'FM'[number % 2]}"],
        "expression.csv": ["patient_id,TP53,IDH1", f"{patient},{number}.5,{number}.25"],
        "mutations.csv": ["patient_id,IDH1", f"{patient},{number % 2}"],
        "reports.csv": ["patient_id,text", f'{patient},"Tumour {number},\nmargin ""free""."'],
        "pathology.csv": ["patient_id,file", *(f"{patient},{patient}-{one}.png" for one in range(images))],
    }
    for one in range(images):
        picture(patient, one).save(folder / f"{patient}-{one}.png")
    for name, (header, *added) in rows.items():
        path = folder / name
        text = path.read_text() if path.is_file() else f"{header}\n"
        path.write_text("".join([text, *(f"{row}\n" for row in added)]))


def dismiss(folder: Path, patient: str) -> None:
    """Takes every row of a patient out."""
    for path in folder.glob("*.csv"):
        edit(path, lambda rows: [row for row in rows if row["patient_id"] != patient])


def new_patients(root: Path) -> None:
    admit(root / "alpha", "a0")
    admit(root / "beta", "b9", images=3)


def with_cell(patient: str, column: str, cell: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    return lambda rows: [row | {column: cell} if row["patient_id"] == patient else row for row in rows]


def changed_cells(root: Path) -> None:
    edit(root / "alpha/record.csv", with_cell("a2", "age", "77"))
    edit(root / "beta/patients.csv", with_cell("b1", "idh", ""))
    edit(root / "beta/expression.csv", lambda rows: rows[:2] + rows[3:])


def changed_image(root: Path) -> None:
    picture("z", 9).save(root / "beta/b3-0.png")


def another_order(root: Path) -> None:
    edit(root / "alpha/patients.csv", lambda rows: rows[::-1])
    edit(root / "alpha/mutations.csv", lambda rows: rows[::-1])


def date_of_the_landmark(root: Path) -> None:
    for hospital in ("alpha", "beta"):
        for name, date in (("patients.csv", "2020-01-05"), ("record.csv", "2020-01-03")):
            edit(root / hospital / name, lambda rows, date=date: [row | {"on": date} for row in rows])
    source = {"file": "record.csv", "date": "on", "columns": {"age": "age", "sex": "sex"}}
    tables = {"expression": {"file": "expression.csv", "timeless": True, "annotation": ["on"]}}
    tables |= {"mutations": {"file": "mutations.csv", "timeless": True}}
    (root / "cohort.yaml").write_text(
        yaml.safe_dump({**DECLARED, "landmark": {"date": "on"}, "sources": {"record": source, **tables}})
    )


def table_gone(root: Path) -> None:
    (root / "alpha/record.csv").unlink()


def table_by_gene(root: Path) -> None:
    table = pd.read_csv(root / "alpha/expression.csv").set_index("patient_id")
    (root / "alpha/expression.csv").unlink()
    table.to_parquet(root / "alpha/expression.parquet")


def left(root: Path) -> None:
    dismiss(root / "alpha", "a2")
    dismiss(root / "beta", "b5")


def listed(root: Path) -> None:
    (root / "withdrawn.txt").write_text("b2\na1\n")


def moved(root: Path) -> None:
    dismiss(root / "alpha", "a4")
    admit(root / "beta", "a4")


def first_of_a_modality(root: Path) -> None:
    (root / "beta/radiology").mkdir()
    picture("b2", 7).save(root / "beta/radiology/b2.png")


def hospital_joins(root: Path) -> None:
    (root / "gamma").mkdir()
    for number in range(1, 4):
        admit(root / "gamma", f"g{number}")
    (root / "cohort.yaml").write_text(yaml.safe_dump({**DECLARED, "hospitals": ["alpha", "beta", "gamma"]}))


def hospital_leaves(root: Path) -> None:
    (root / "cohort.yaml").write_text(yaml.safe_dump({**DECLARED, "hospitals": ["beta"]}))


def everything(root: Path) -> None:
    for one in (new_patients, changed_image, left, hospital_joins, first_of_a_modality):
        one(root)
