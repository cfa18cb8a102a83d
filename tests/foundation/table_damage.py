"""What is done to tables, texts and the declaration of the small cohort: one change each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import yaml

from tests.foundation.cohort_files import GENES, PATIENTS, cut, declare_otherwise, edit

Damage = tuple[Callable[[Path], object], str]
IDS = [f"N{number:03}" for number in range(PATIENTS)]
MAF = "Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode"


def cell(name: str, **columns: object) -> Callable[[Path], object]:
    """Overwrites cells of a table of north."""
    return lambda root: edit(root / "north" / f"{name}.csv", **columns)


def rows(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    def build(root: Path) -> None:
        path = root / "north" / f"{name}.csv"
        change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)

    return build


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def build(root: Path) -> None:
        path = root / "north" / name
        path.write_bytes(change(path.read_bytes()))

    return build


def instead(name: str, other: str, content: str | bytes) -> Callable[[Path], object]:
    """Another file in the place of one of north's."""

    def build(root: Path) -> None:
        (root / "north" / name).unlink()
        path = root / "north" / other
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return build


def saved_as(name: str, suffix: str, write: Callable[[pd.DataFrame, Path], object], share: float = 1) -> Any:
    """A table of north in another format, cut off."""

    def build(root: Path) -> None:
        path = root / "north" / f"{name}.csv"
        table = pd.read_csv(path, dtype={"patient_id": str})
        path.unlink()
        write(table, path.with_suffix(suffix))
        cut(path.with_suffix(suffix), share)

    return build


def parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)


def tsv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False)


def jsonl(table: pd.DataFrame, path: Path) -> None:
    table.to_json(path, orient="records", lines=True)


def h5ad(table: pd.DataFrame, path: Path, **change: object) -> None:
    values = table.set_index("patient_id")
    data = anndata.AnnData(values.to_numpy(np.float32), pd.DataFrame(index=values.index), pd.DataFrame(index=GENES))
    for name, value in change.items():
        setattr(data, name, value)
    data.write_h5ad(path)


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[:1]])


def declared(**changes: Any) -> Callable[[Path], object]:
    return lambda root: declare_otherwise(root, **changes)


def dictionary(**changes: Any) -> Callable[[Path], object]:
    def build(root: Path) -> None:
        content = yaml.safe_load((root / "cohort.yaml").read_text())
        declare_otherwise(root, dictionary={**content["dictionary"], **changes})

    return build


def maf(*lines: str) -> Callable[[Path], object]:
    return instead("mutations.csv", "mutations.maf", "\n".join([MAF, *lines]) + "\n")


def fhir(change: Callable[[list[dict[str, Any]]], object] = lambda _: None) -> Callable[[Path], object]:
    """Records as FHIR at both hospitals, damaged at north."""

    def build(root: Path) -> None:
        columns = {"sex": {"path": "patient.gender", "values": {"female": "female", "male": "male"}}}
        declare_otherwise(root, sources={"record": {"files": "fhir/*.json", "columns": columns}})
        for name in ("north", "south"):
            (root / name / "record.csv").unlink()
            (root / name / "fhir").mkdir()
            people = [
                {
                    "resourceType": "Patient",
                    "id": f"{name[0].upper()}{place:03}",
                    "gender": ["female", "male"][place % 2],
                }
                for place in range(PATIENTS)
            ]
            if name == "north":
                change(people)
            entries = [{"resource": person} for person in people]
            content = {"resourceType": "Bundle", "type": "collection", "entry": entries}
            (root / name / "fhir" / "all.json").write_text(json.dumps(content))

    return build


def cut_fhir(root: Path) -> None:
    fhir()(root)
    cut(root / "north" / "fhir" / "all.json")


def report_file(name: str, content: str | bytes) -> Callable[[Path], object]:
    def build(root: Path) -> None:
        path = root / "south" / "reports" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return build


def record_word(root: Path) -> None:
    (root / "cohort.yaml").write_text((root / "cohort.yaml").read_text().replace("synthetic", "sinthetic"))
