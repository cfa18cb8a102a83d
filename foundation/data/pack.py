"""Packing: a checked cohort becomes arrays that training reads without parsing."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import Progress

from foundation.data.cohort import CHANNELS, FILE, MODALITIES
from foundation.data.declaration import Declaration, read_declaration
from foundation.data.deidentify import keyed_hash, mask_text, read_or_make_key
from foundation.data.dictionary import DataDictionary
from foundation.data.genes import GeneVocabulary
from foundation.data.pack_images import Tiling, pack_images
from foundation.data.panel import align, union
from foundation.data.problems import Problems
from foundation.data.site import Site
from foundation.data.validation import validate
from foundation.files import write_json

_BLOCK = 1 << 20


def pack(
    root: Path, output: Path, declaration: Declaration | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Checks and packs every hospital; all or nothing.

    Slides that were cut before a run was killed are not cut again: they are kept beside the output until it is done.

    Args:
        root: the cohort's folder.
        output: of the prepared cohort; replaced whole.
        declaration: of the cohort; that in its folder if None.
        workers: processes that cut slides; one a core if None.

    Returns:
        What was found: patients by hospital and modality, and how many warnings.

    Raises:
        DataError: on the first error that validation names, or that reading the images brings up.
    """
    declaration = declaration or read_declaration(root)
    found = validate(root, declaration, images=False)
    problems = found.problems
    problems.refuse_first()
    dictionary = _with_genes(declaration.dictionary, found.sites)
    key = _key(root, output, declaration)
    temporary, cache = (output.with_name(f".{output.name}.{what}") for what in ("writing", "tiles"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tiling = Tiling(cache, workers or os.cpu_count() or 1)
    tables = {}
    try:
        with Progress(transient=True) as bars:
            for site in bars.track(found.sites, description="Packing"):
                packed = _pack_site(site, declaration, dictionary, key, temporary / site.name, tiling, problems)
                tables[site.name] = packed
        content = _content(declaration, dictionary, list(tables)) | {"digest": _digest(temporary)}
        write_json(temporary / FILE, content)
        shutil.rmtree(output, ignore_errors=True)
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    counts = {
        name: {"patients": len(table), **{modality: int(table[modality].sum()) for modality in MODALITIES}}
        for name, table in tables.items()
    }
    facts = {name: content[name] for name in ("name", "digest", "synthetic")}
    return {**facts, "found": counts, "warnings": len(problems.warnings)}


def _with_genes(dictionary: DataDictionary, sites: list[Site]) -> DataDictionary:
    genes = dictionary.genes or union(table for site in sites for table in site.channels.values())
    return dictionary.model_copy(update={"genes": genes})


def _key(root: Path, output: Path, declaration: Declaration) -> bytes | None:
    wanted = declaration.deidentify
    return None if wanted.key is None or wanted.ids == "keep" else read_or_make_key(root / wanted.key, output)


def _content(declaration: Declaration, dictionary: DataDictionary, hospitals: list[str]) -> dict[str, Any]:
    """What the prepared cohort says of itself; where files lay at the hospitals stays there."""
    told = declaration.model_dump(include={"name", "synthetic", "description"})
    done = {"ids": declaration.deidentify.ids, "text": declaration.deidentify.text}
    version = GeneVocabulary.shipped().version
    return {
        **told,
        "hospitals": hospitals,
        "dictionary": dictionary.model_dump(),
        "gene_vocabulary": version,
        "deidentify": done,
    }


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _pack_site(
    site: Site,
    declaration: Declaration,
    dictionary: DataDictionary,
    key: bytes | None,
    output: Path,
    tiling: Tiling,
    problems: Problems,
) -> pd.DataFrame:
    output.mkdir()
    patients = site.patients.index.tolist()
    names = dict(zip(patients, patients if key is None else keyed_hash(patients, key), strict=True))
    table = pack_images(site, names, output, tiling, problems)
    # Rows stand in the order of the packed ids: the hospital's own order could tell who is who.
    order = pd.Index(sorted(names, key=lambda patient: names[patient]))
    own = pd.DataFrame(index=order)
    own["hospital"] = site.name
    for column in (*dictionary.labels, *dictionary.survival.values()):
        values = site.patients.get(column)
        own[column] = np.nan if values is None else pd.to_numeric(values).reindex(order).astype(float)
    _pack_genomics(site, dictionary, own, output)
    texts = pd.Series("", order) if site.reports is None else site.reports["text"].reindex(order).fillna("")
    own["report_text"] = mask_text(texts) if declaration.deidentify.text == "mask" else texts
    own["report"] = own["report_text"] != ""
    _pack_record(site, dictionary, own)
    table = pd.concat([own.set_axis(table.index, axis=0), table], axis=1)
    table.to_parquet(output / "patients.parquet")
    return table


def _pack_genomics(site: Site, dictionary: DataDictionary, table: pd.DataFrame, output: Path) -> None:
    stacked = np.full((len(table), len(CHANNELS), len(dictionary.genes)), np.nan, dtype=np.float32)
    for index, channel in enumerate(CHANNELS):
        if channel in site.channels:
            values = align(site.channels[channel], dictionary.genes, site.files[channel], smallest=0)
            stacked[:, index] = values.reindex(index=table.index).to_numpy(dtype=np.float32)
    table["genomics"] = ~np.isnan(stacked).all(axis=(1, 2))
    table["genomics_row"] = np.arange(len(table))
    if table["genomics"].any():
        np.save(output / "genomics.npy", stacked)


def _pack_record(site: Site, dictionary: DataDictionary, table: pd.DataFrame) -> None:
    """Each patient's record as JSON: numbers as numbers, categories as words, unknown as null."""
    names = [column.name for column in dictionary.record]
    record = pd.DataFrame(index=table.index, columns=names, dtype=object)
    for column in dictionary.record:
        if site.record is not None and column.name in site.record:
            cells = site.record[column.name].reindex(table.index)
            whole = column.kind == "categorical"
            record[column.name] = cells.map(str, na_action="ignore") if whole else pd.to_numeric(cells).astype(float)
    record = record.astype(object).where(record.notna(), None)
    table["record"] = record.notna().any(axis=1)
    rows = zip(record.to_dict(orient="records"), table["record"], strict=True)
    table["record_values"] = [json.dumps(row) if known else "{}" for row, known in rows]
