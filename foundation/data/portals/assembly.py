"""Assembly of a public project as a site folder that reads like any hospital's."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.progress import Progress

from foundation.data.declaration import declare
from foundation.data.portals.cases import dictionary_columns, patients_table, record_table
from foundation.data.portals.gdc import File
from foundation.data.portals.joins import write_expression, write_maf, write_parquet
from foundation.data.portals.manifest import Manifest
from foundation.data.portals.plan import Plan, Portals
from foundation.data.portals.selection import Selection
from foundation.data.portals.tcia import Series
from foundation.data.portals.transfer import Transfer
from foundation.data.problems import refuse
from foundation.files import write_text

TABLES = {
    "pathology": "pathology.csv",
    "radiology": "radiology.csv",
    "expression": "expression.parquet",
    "mutations": "mutations.maf",
    "copy_number": "copy_number.parquet",
    "record": "record.csv",
}


@dataclass(frozen=True)
class Assembled:
    """What came of it.

    Attributes:
        digest: of the manifest, times left out.
        hospitals: by name as the portal writes it, patients.
        patients: by modality.
        unmutated: patients sequenced, in whom no mutation was found.
    """

    digest: str
    hospitals: dict[str, int]
    patients: dict[str, int]
    unmutated: list[str]


def assemble(plan: Plan, wanted: Selection, portals: Portals, transfer: Transfer, bars: Progress) -> Assembled:
    """Receives what is planned, then writes the tables, the declaration and the manifest.

    Raises:
        DataError: if there is no room, or a file cannot be had or used.
    """
    folder = transfer.folder
    _check_room(plan, portals, transfer.manifest)
    _receive(plan, portals, transfer, bars)
    unmutated = _write_tables(plan, wanted, portals, folder, bars)
    patients = patients_table(plan.cases, plan.labels)
    _write_csv(patients, folder / "patients.csv")
    _declare(folder, plan, wanted)
    about = {"project": wanted.project, "releases": plan.releases, "selection": wanted.model_dump(mode="json")}
    digest = transfer.manifest.write(json.loads(json.dumps(about)))
    counts = {modality: len({file.patient for file in files}) for modality, files in plan.files.items()}
    counts |= {"radiology": len({each.patient for each in plan.series}), "copy_number": len(plan.samples)}
    return Assembled(digest, patients["hospital"].value_counts().sort_index().to_dict(), counts, unmutated)


def _write_tables(plan: Plan, wanted: Selection, portals: Portals, folder: Path, bars: Progress) -> list[str]:
    """Joins and lists what was received; tables that an earlier selection left are removed.

    Returns:
        Patients sequenced, in whom no mutation was found.
    """
    made = {modality for modality, files in plan.files.items() if files} | {"pathology", "radiology"}
    made |= {"copy_number"} if plan.samples else set()
    made |= {"record"} & set(wanted.modalities)
    for modality in TABLES.keys() - made:
        (folder / TABLES[modality]).unlink(missing_ok=True)
    # Listed even where there are none, so that images of an earlier selection, which are kept, are nobody's.
    slides = [(file.patient, portals.gdc.download(file, "pathology").path) for file in plan.files.get("pathology", [])]
    _write_list(slides, folder / TABLES["pathology"])
    _write_list([(series.patient, series.place) for series in plan.series], folder / TABLES["radiology"])
    if "record" in made:
        _write_csv(record_table(plan.cases), folder / TABLES["record"])
    if "expression" in made:
        write_expression(_by_patient(plan, portals, folder, "expression"), folder / TABLES["expression"])
    if "copy_number" in made:
        task = bars.add_task("Copy number", total=len(plan.samples))
        calls = portals.cbioportal.copy_number(
            plan.samples, wanted.copy_number_genes, lambda count: bars.advance(task, count)
        )
        write_parquet(calls, folder / TABLES["copy_number"])
    if "mutations" not in made:
        return []
    return write_maf(_by_patient(plan, portals, folder, "mutations"), folder / TABLES["mutations"])


def _receive(plan: Plan, portals: Portals, transfer: Transfer, bars: Progress) -> None:
    for modality, files in plan.files.items():
        task = bars.add_task(modality.capitalize(), total=sum(file.file_size for file in files))

        def one(file: File, modality: str = modality, task: Any = task) -> None:
            transfer.fetch(portals.gdc.download(file, modality), bars, task)

        transfer.each(one, files)
        bars.update(task, completed=sum(file.file_size for file in files))
    if plan.series:
        task = bars.add_task("Radiology", total=sum(each.bytes for each in plan.series))

        def scan(series: Series) -> None:
            portals.tcia.fetch(series, bars, task)

        transfer.each(scan, plan.series)
        bars.update(task, completed=sum(each.bytes for each in plan.series))


def _check_room(plan: Plan, portals: Portals, manifest: Manifest) -> None:
    sizes = {
        portals.gdc.download(file, modality).path: file.file_size
        for modality, files in plan.files.items()
        for file in files
    }
    sizes |= {series.place: series.bytes for series in plan.series}
    needed = sum(size for path, size in sizes.items() if path not in manifest.entries)
    free = shutil.disk_usage(manifest.folder).free
    if needed > free:
        finding = f"{needed / 1e9:.1f} GB are to come, {free / 1e9:.1f} GB are free"
        raise refuse(manifest.folder, finding, "give another output, or fewer patients or modalities")


def _by_patient(plan: Plan, portals: Portals, folder: Path, modality: str) -> dict[str, Path]:
    return {file.patient: folder / portals.gdc.download(file, modality).path for file in plan.files[modality]}


def _write_list(files: list[tuple[str, str]], path: Path) -> None:
    _write_csv(pd.DataFrame(sorted(files), columns=["patient_id", "file"]), path)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _declare(folder: Path, plan: Plan, wanted: Selection) -> None:
    sources: dict[str, Any] = {}
    if plan.files.get("expression"):
        sources["expression"] = {"file": TABLES["expression"], "unit": "tpm"}
    if plan.samples:
        sources["copy_number"] = {"file": TABLES["copy_number"], "unit": "copies"}
    content = {
        "name": wanted.project.lower().replace("-", "_"),
        "synthetic": False,
        "description": f"{wanted.project}, open tier, GDC {plan.releases['gdc']}; hospitals are tissue source sites",
        "hospitals": {"column": "hospital", "smallest": wanted.smallest_hospital},
        "sources": sources,
        "dictionary": {
            "expression_unit": "log2_tpm",
            "record": dictionary_columns(record_table(plan.cases)) if "record" in wanted.modalities else [],
            "labels": list(wanted.labels),
            "survival": {"event": "os_event", "time": "os_days"},
        },
    }
    path = folder / "cohort.yaml"
    declare(content, path)
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
