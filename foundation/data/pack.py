"""Packing: checked site folders become arrays that training reads without parsing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.progress import Progress

from foundation.data.cohort import CHANNELS, FILE, MODALITIES
from foundation.data.dictionary import DataDictionary, is_outcome
from foundation.data.site_folder import read_image, read_patients, read_table
from foundation.data.store import ImageWriter
from foundation.errors import UserError
from foundation.run_record import write_json


class Declaration(BaseModel):
    """`cohort.yaml`: what lies beside it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    synthetic: bool
    description: str
    hospitals: list[str]
    expression_units: dict[str, str] = {}
    dictionary: DataDictionary


def read_declaration(root: Path) -> Declaration:
    """The cohort's declaration.

    Raises:
        UserError: if it is missing, no YAML, or a field is wrong.
    """
    path = root / "cohort.yaml"
    if not path.is_file():
        raise UserError(f"{path}: missing; a cohort's folder declares itself there (see README, own data)")
    try:
        return Declaration.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not readable as YAML ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: field {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def pack(root: Path, output: Path) -> dict[str, Any]:
    """Checks and packs every hospital; all or nothing.

    Args:
        root: holds `cohort.yaml` and a folder a hospital.
        output: of the prepared cohort; replaced whole.

    Returns:
        What was found: patients by hospital and modality.
    """
    declaration = read_declaration(root)
    temporary = output.with_name(f".{output.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        tables = {}
        with Progress(transient=True) as progress:  # `track` would outlive an error
            task = progress.add_task("Packing", total=len(declaration.hospitals))
            for name in declaration.hospitals:
                tables[name] = _pack_hospital(root, name, declaration, temporary / name)
                progress.advance(task)
        _refuse_shared_patients(tables)
        digest = hashlib.sha256()
        for path in sorted(temporary.rglob("*.*")):
            digest.update(path.relative_to(temporary).as_posix().encode())
            digest.update(path.read_bytes())
        content = {**declaration.model_dump(), "digest": digest.hexdigest()}
        write_json(temporary / FILE, content)
        shutil.rmtree(output, ignore_errors=True)
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = {
        name: {"patients": len(table), **{modality: int(table[modality].sum()) for modality in MODALITIES}}
        for name, table in tables.items()
    }
    return {"name": declaration.name, "digest": content["digest"], "synthetic": declaration.synthetic, "found": found}


def _refuse_shared_patients(tables: dict[str, pd.DataFrame]) -> None:
    seen: dict[str, str] = {}
    for hospital, table in tables.items():
        for patient in table.index:
            if patient in seen:
                raise UserError(
                    f"{hospital}/patients.csv: field patient_id: '{patient}' is also in {seen[patient]}; "
                    "a patient belongs to one hospital"
                )
            seen[patient] = hospital


def _pack_hospital(root: Path, hospital: str, declaration: Declaration, output: Path) -> pd.DataFrame:
    site = root / hospital
    output.mkdir()
    patients = read_patients(site)
    dictionary = declaration.dictionary
    keep = [*dictionary.labels, *dictionary.survival.values()]
    table = pd.DataFrame(index=patients.index)
    table["hospital"] = hospital
    for column in keep:
        table[column] = pd.to_numeric(patients[column], errors="coerce") if column in patients else np.nan
    for name in ("pathology", "radiology"):
        _pack_images(site, name, table, output)
    _pack_genomics(site, declaration, hospital, table, output)
    reports = read_table(site / "reports.csv", ("text",))
    table["report_text"] = "" if reports is None else reports["text"].reindex(table.index).fillna("")
    table["report"] = table["report_text"] != ""
    _pack_record(site, dictionary, table)
    table.to_parquet(output / "patients.parquet")
    return table


def _known(path: Path, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    strangers = rows.index.difference(table.index)
    if len(strangers):
        raise UserError(
            f"{path}: field patient_id: '{strangers[0]}' is not in patients.csv; add the patient or drop the row"
        )


def _pack_images(site: Path, name: str, table: pd.DataFrame, output: Path) -> None:
    listed = read_table(site / f"{name}.csv", ("file",), unique=False)
    table[name], table[f"{name}_start"], table[f"{name}_count"] = False, 0, 0
    if listed is None or listed.empty:
        return
    _known(site / f"{name}.csv", listed, table)
    with ImageWriter(output, name) as writer:
        for patient, files in listed.groupby(level=0, sort=True)["file"]:
            images = [read_image(site / file) for file in files]
            for file, image in zip(files, images, strict=True):
                if image.shape != images[0].shape:
                    found = f"size {image.shape[:2]}, the patient's first image has {images[0].shape[:2]}"
                    raise UserError(f"{site / file}: {found}; crop a patient's images to one size")
            start, count = writer.add(np.stack(images))
            table.loc[patient, [name, f"{name}_start", f"{name}_count"]] = [True, start, count]


def _pack_genomics(site: Path, declaration: Declaration, hospital: str, table: pd.DataFrame, output: Path) -> None:
    genes = declaration.dictionary.genes
    stacked = np.full((len(table), len(CHANNELS), len(genes)), np.nan, dtype=np.float32)
    for index, channel in enumerate(CHANNELS):
        values = read_table(site / f"{channel}.csv")
        if values is None:
            continue
        _known(site / f"{channel}.csv", values, table)
        for column in values.columns:
            if is_outcome(str(column)):
                raise UserError(f"{site / channel}.csv: column '{column}' holds an outcome; remove it")
        text = values.select_dtypes(include="object").columns
        if len(text):
            raise UserError(
                f"{site / channel}.csv: column '{text[0]}' holds text where numbers belong; leave unknowns blank"
            )
        array = values.reindex(index=table.index, columns=genes).to_numpy(dtype=np.float32)
        if channel == "expression":
            unit = declaration.expression_units.get(hospital, declaration.dictionary.expression_unit)
            array = convert_unit(array, unit, declaration.dictionary.expression_unit, site / "expression.csv")
        stacked[:, index] = array
    table["genomics"] = ~np.isnan(stacked).all(axis=(1, 2))
    table["genomics_row"] = np.arange(len(table))
    if table["genomics"].any():
        np.save(output / "genomics.npy", stacked)


def convert_unit(values: Any, found: str, wanted: str, path: Path) -> Any:
    """Expression in the cohort's unit; exact conversions only.

    Raises:
        UserError: if there is no exact way from one unit to the other.
    """
    if found == wanted:
        return values
    if (found, wanted) == ("tpm", "log2_tpm"):
        if np.nanmin(values) < 0:
            raise UserError(f"{path}: negative values cannot be TPM; check the unit declared in cohort.yaml")
        return np.log2(values + 1)
    if (found, wanted) == ("log2_tpm", "tpm"):
        return np.exp2(values) - 1
    raise UserError(f"{path}: unit '{found}' cannot be converted exactly to '{wanted}'; export it in that unit")


def _pack_record(site: Path, dictionary: DataDictionary, table: pd.DataFrame) -> None:
    path = site / "record.csv"
    record = read_table(path)
    table["record"], table["record_values"] = False, "{}"
    if record is None:
        return
    _known(path, record, table)
    for column in record.columns:
        if is_outcome(str(column)):
            raise UserError(f"{path}: column '{column}' holds an outcome and must not be an input; remove it")
    for patient, row in record.to_dict(orient="index").items():
        values: dict[str, Any] = {}
        for column in dictionary.record:
            value = row.get(column.name)
            if value is None or value != value:
                values[column.name] = None
            elif column.kind == "categorical" and str(value) not in column.values:
                raise UserError(f"{path}: patient {patient}, field {column.name}: '{value}' is none of {column.values}")
            elif column.kind == "continuous" and isinstance(value, str):
                raise UserError(
                    f"{path}: patient {patient}, field {column.name}: '{value}' is no number; leave it blank"
                )
            else:
                values[column.name] = value if column.kind == "categorical" else float(value)
        if any(value is not None for value in values.values()):
            table.loc[patient, ["record", "record_values"]] = [True, json.dumps(values)]
