"""Packing of a checked cohort as arrays that training reads without parsing."""

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping
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
from foundation.data.growth.state import State
from foundation.data.growth.survey import Survey
from foundation.data.numbers import numbers
from foundation.data.preparation import Packing, Preparation, mentioned, preparations
from foundation.data.problems import Problems
from foundation.data.provenance import by_rule
from foundation.data.site import Site
from foundation.data.validation import validate
from foundation.files import replacing_folder, write_json
from foundation.release import installed_release
from foundation.run_record import digest_of


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
    key = site_key(root, output, declaration)
    settings = settings_of(root, declaration, key, features)
    prints = Survey(root, declaration, None, names_of(key)).prints(validation.sites)
    cache = output.with_name(f".{output.name}.tiles")
    tables = {}
    with replacing_folder(output) as temporary:
        with Progress(transient=True) as bars:
            for site in bars.track(validation.sites, description="Packing"):
                folder = temporary / site.name
                packing = packing_of(site, declaration, dictionary, key, folder, cache, workers, problems)
                tables[site.name] = _pack_site(packing, each)
        state = State(settings, prints, file_digests(temporary))
        content = content_of(declaration, dictionary, list(tables)) | {"digest": cohort_digest(state.files)}
        content |= {"flow": validation.flow, "provenance": by_rule(problems.steps)}
        write_json(temporary / FILE, content)
        state.write(temporary)
    shutil.rmtree(cache, ignore_errors=True)
    return found_in(content, tables, dictionary, len(problems.warnings))


def found_in(
    content: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], dictionary: DataDictionary, warnings: int
) -> dict[str, Any]:
    """Who has what by hospital, what patients are like, and how many warnings there were."""
    names = [name for name in preparations() if name in next(iter(tables.values()))]
    counts = {
        hospital: {"patients": len(table), **{name: int(table[name].sum()) for name in names}}
        for hospital, table in tables.items()
    }
    facts = {name: content[name] for name in ("name", "digest", "synthetic")}
    columns = [(column.name, column.kind) for column in dictionary.record]
    table_one = characteristics(tables, columns, dictionary.labels, dictionary.survival, content["synthetic"])
    return {**facts, "found": counts, "characteristics": table_one, "warnings": warnings}


def names_of(key: bytes | None) -> Callable[[Collection[str]], list[str]]:
    """What makes packed names of patients' ids: keyed hashes, or the ids themselves."""
    return list if key is None else lambda ids: keyed_hash(ids, key)


def settings_of(root: Path, declaration: Declaration, key: bytes | None, features: Path | None) -> str:
    """Digest of all but the hospitals' own files that the packed form depends on: what a cohort cannot grow across."""
    declared = declaration.model_dump(mode="json", exclude={"description", "withdrawn", "expression_units"})
    hospitals = declaration.hospitals
    if isinstance(hospitals, list):
        del declared["hospitals"]
    elif hospitals.table is not None:
        declared["table"] = hashlib.sha256((root / hospitals.table.file).read_bytes()).hexdigest()
    of_key = None if key is None else hashlib.sha256(b"names" + key).hexdigest()
    return digest_of([declared, of_key, features is not None, installed_release()])


def site_key(root: Path, output: Path, declaration: Declaration) -> bytes | None:
    wanted = declaration.deidentify
    return None if wanted.key is None or wanted.ids == "keep" else read_or_make_key(root / wanted.key, output)


def content_of(declaration: Declaration, dictionary: DataDictionary, hospitals: list[str]) -> dict[str, Any]:
    """What the prepared cohort says of itself; where files lay at the hospitals stays there."""
    content = declaration.model_dump(include={"name", "synthetic", "description"})
    content |= {"hospitals": hospitals, "dictionary": dictionary.model_dump()}
    for preparation in preparations().values():
        content |= preparation.facts()
    return content | {"deidentify": {"ids": declaration.deidentify.ids, "text": declaration.deidentify.text}}


def file_digests(folder: Path, earlier: Path | None = None, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of each file by its path in the folder; files that an earlier folder shares are not read again.

    Args:
        folder: of the prepared cohort.
        earlier: of which files may be linked.
        known: digests of those.
    """
    shared = {(earlier / name).stat().st_ino: one for name, one in (known or {}).items()} if earlier else {}
    digests = {}
    for path in sorted(folder.rglob("*.*")):
        digest = shared.get(path.stat().st_ino)
        if digest is None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        digests[path.relative_to(folder).as_posix()] = digest
    return digests


def cohort_digest(files: Mapping[str, str]) -> str:
    """SHA-256 over the names and digests of all packed files."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(files.items())).encode()).hexdigest()


def packing_of(
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


def outcome_columns(packing: Packing) -> pd.DataFrame:
    """Hospital, labels and survival, indexed by patient."""
    dictionary, patients = packing.dictionary, packing.site.patients
    table = pd.DataFrame(index=packing.order)
    table["hospital"] = packing.site.name
    for column in (*dictionary.labels, *dictionary.survival.values()):
        values = patients.get(column)
        table[column] = np.nan if values is None else numbers(values).reindex(packing.order).astype(float)
    return table


def in_column_order(each: list[Preparation]) -> list[Preparation]:
    """As their columns stand in the patients' table: the order is part of the cohort's digest."""
    return sorted(each, key=lambda preparation: (not preparation.storage.core, preparation.storage.stored))


def _pack_site(packing: Packing, each: list[Preparation]) -> pd.DataFrame:
    packing.output.mkdir()
    columns = (preparation.pack(packing) for preparation in in_column_order(each))
    table = pd.concat([outcome_columns(packing), *columns], axis=1)
    table.index = pd.Index([packing.names[patient] for patient in packing.order], name="patient_id")
    table.to_parquet(packing.output / "patients.parquet")
    return table
