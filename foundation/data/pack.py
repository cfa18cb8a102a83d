"""Packing of a checked cohort as arrays that training reads without parsing."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import Progress

from foundation.data.characteristics import characteristics
from foundation.data.declaration import Declaration, read_declaration
from foundation.data.deidentify import keyed_hash, read_or_make_key
from foundation.data.dictionary import FILE, DataDictionary
from foundation.data.extraction.substitute import substitute_features
from foundation.data.numbers import numbers
from foundation.data.preparation import Packing, Preparation, mentioned, preparations
from foundation.data.problems import Problems
from foundation.data.provenance import by_rule
from foundation.data.site import Site
from foundation.data.validation import validate
from foundation.files import replacing_folder, write_json


def pack(
    root: Path,
    output: Path,
    declaration: Declaration | None = None,
    workers: int | None = None,
    features: Path | None = None,
) -> dict[str, Any]:
    """Checks and packs every hospital; all or nothing.

    Slides that were cut before a run was killed are not cut again: they are kept beside the output until it is done.

    Args:
        root: the cohort's folder.
        output: of the prepared cohort; replaced whole.
        declaration: of the cohort; that in its folder if None.
        workers: processes that cut slides; one a core if None.
        features: output of `python -m foundation.data features`, which are packed instead of images.

    Returns:
        What was found: patients by hospital and modality, what they are like, and how many warnings.

    Raises:
        DataError: on the first error that validation names, or that reading the images brings up.
    """
    declaration = declaration or read_declaration(root)
    validation = validate(root, declaration, images=False)
    problems = validation.problems
    problems.refuse_first()
    each, dictionary = mentioned(validation.sites), declaration.dictionary
    if features is not None:
        dictionary = substitute_features(validation.sites, features, dictionary, problems)
        problems.refuse_first()
    for preparation in preparations().values():
        dictionary = preparation.complete(dictionary, validation.sites)
    key = _key(root, output, declaration)
    cache = output.with_name(f".{output.name}.tiles")
    tables = {}
    with replacing_folder(output) as temporary:
        with Progress(transient=True) as bars:
            for site in bars.track(validation.sites, description="Packing"):
                folder = temporary / site.name
                packing = _packing(site, declaration, dictionary, key, folder, cache, workers, problems)
                tables[site.name] = _pack_site(packing, each)
        content = _content(declaration, dictionary, list(tables)) | {"digest": _digest(temporary)}
        content |= {"flow": validation.flow, "provenance": by_rule(problems.steps)}
        write_json(temporary / FILE, content)
    shutil.rmtree(cache, ignore_errors=True)
    names = [preparation.storage.name for preparation in each]
    counts = {
        hospital: {"patients": len(table), **{name: int(table[name].sum()) for name in names}}
        for hospital, table in tables.items()
    }
    facts = {name: content[name] for name in ("name", "digest", "synthetic")}
    columns = [(column.name, column.kind) for column in dictionary.record]
    table_one = characteristics(tables, columns, dictionary.labels, dictionary.survival, declaration.synthetic)
    return {**facts, "found": counts, "characteristics": table_one, "warnings": len(problems.warnings)}


def _key(root: Path, output: Path, declaration: Declaration) -> bytes | None:
    wanted = declaration.deidentify
    return None if wanted.key is None or wanted.ids == "keep" else read_or_make_key(root / wanted.key, output)


def _content(declaration: Declaration, dictionary: DataDictionary, hospitals: list[str]) -> dict[str, Any]:
    """What the prepared cohort says of itself; where files lay at the hospitals stays there."""
    content = declaration.model_dump(include={"name", "synthetic", "description"})
    content |= {"hospitals": hospitals, "dictionary": dictionary.model_dump()}
    for preparation in preparations().values():
        content |= preparation.facts()
    return content | {"deidentify": {"ids": declaration.deidentify.ids, "text": declaration.deidentify.text}}


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _packing(
    site: Site,
    declaration: Declaration,
    dictionary: DataDictionary,
    key: bytes | None,
    output: Path,
    cache: Path,
    workers: int | None,
    problems: Problems,
) -> Packing:
    patients = site.patients.index.tolist()
    names = dict(zip(patients, patients if key is None else keyed_hash(patients, key), strict=True))
    order = pd.Index(sorted(names, key=lambda patient: names[patient]))
    return Packing(site, declaration, dictionary, names, order, output, cache, workers or os.cpu_count() or 1, problems)


def _pack_site(packing: Packing, each: list[Preparation]) -> pd.DataFrame:
    packing.output.mkdir()
    dictionary, patients = packing.dictionary, packing.site.patients
    table = pd.DataFrame(index=packing.order)
    table["hospital"] = packing.site.name
    for column in (*dictionary.labels, *dictionary.survival.values()):
        values = patients.get(column)
        table[column] = np.nan if values is None else numbers(values).reindex(packing.order).astype(float)
    # The order of columns is part of the cohort's digest.
    ordered = sorted(each, key=lambda preparation: (not preparation.storage.core, preparation.storage.stored))
    table = pd.concat([table, *(preparation.pack(packing) for preparation in ordered)], axis=1)
    table.index = pd.Index([packing.names[patient] for patient in packing.order], name="patient_id")
    table.to_parquet(packing.output / "patients.parquet")
    return table
