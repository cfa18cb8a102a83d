"""`prepare` over a prepared cohort: takes in what is new, changed or withdrawn."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.progress import Progress

from foundation.data.declaration import Declaration
from foundation.data.dictionary import FILE, DataDictionary
from foundation.data.growth.earlier import Earlier, Growth
from foundation.data.growth.merge import merged_table
from foundation.data.growth.state import State
from foundation.data.growth.survey import Survey
from foundation.data.pack import (
    cohort_digest,
    content_of,
    file_digests,
    found_in,
    in_column_order,
    names_of,
    outcome_columns,
    packing_of,
    settings_of,
    site_key,
)
from foundation.data.places import Places
from foundation.data.preparation import Preparation, preparations
from foundation.data.provenance import by_rule
from foundation.data.site import Site
from foundation.errors import UserError
from foundation.files import replacing_folder, unfinished, write_json
from foundation.run_record import keep_records


def grow(
    root: Path,
    output: Path,
    declaration: Declaration,
    workers: int | None = None,
    features: Path | None = None,
    earlier: Path | None = None,
) -> dict[str, Any] | None:
    """Prepares a cohort from what it was before and what changed in its folders since; all or nothing.

    Tables are compared by rows, images by name, size and time, and by content where those differ. What did not change
    is neither parsed nor decoded: its packed files are linked, or copied without those who withdrew.

    Args:
        root: the cohort's folder.
        output: of the prepared cohort; replaced whole, in one step.
        declaration: of the cohort.
        workers: processes that cut slides; one a core if None.
        features: see `pack`.
        earlier: the cohort as prepared before; `output` if None.

    Returns:
        As `pack` does, and under `grown` how many patients are new, changed and withdrawn; None where nothing changed.

    Raises:
        DataError: on the first error in what changed.
        UserError: if the cohort was prepared under other settings.
    """
    before = Earlier.read(earlier or output)
    key = site_key(root, output, declaration)
    settings = settings_of(root, declaration, key, features)
    if before.state.settings != settings:
        raise UserError(
            f"{before.folder}: was prepared under another declaration or release; overwrite=true prepares it anew"
        )
    with Progress(transient=True) as bars:
        survey = Survey(root, declaration, before, names_of(key))
        growth = survey.growth(features, bars)
    cache = output.with_name(f".{output.name}.tiles")
    if growth is None:
        for left in (cache, unfinished(output)):  # of a killed process, and of whoever has withdrawn since
            shutil.rmtree(left, ignore_errors=True)
        return None
    with replacing_folder(output) as temporary:
        tables = _tables(root, temporary, cache, declaration, key, workers, before, growth)
        places = Places.read(before.folder, bool(before.content.get("grown"))) or Places.first(_indices(before.tables))
        places.grown(_indices(tables)).write(temporary)
        state = State(settings, growth.prints, file_digests(temporary, before.folder, before.state.files))
        counts = growth.counts(before)
        content = content_of(declaration, growth.dictionary, list(tables)) | {"digest": cohort_digest(state.files)}
        content |= _history(before, growth, tables, counts)
        write_json(temporary / FILE, content)
        state.write(temporary)
        keep_records(before.folder, temporary)
    shutil.rmtree(cache, ignore_errors=True)
    return found_in(content, tables, growth.dictionary, len(growth.problems.warnings)) | {
        "grown": counts,
        "read_whole": growth.read_whole,
    }


def as_before(folder: Path) -> dict[str, Any]:
    """What `grow` returns, of a prepared cohort in which nothing changed."""
    before = Earlier.read(folder)
    dictionary = DataDictionary.model_validate(before.content["dictionary"])
    grown = {"new": 0, "changed": 0, "withdrawn": 0}
    return found_in(before.content, before.tables, dictionary, 0) | {"grown": grown, "read_whole": None}


def _tables(
    root: Path,
    temporary: Path,
    cache: Path,
    declaration: Declaration,
    key: bytes | None,
    workers: int | None,
    before: Earlier,
    growth: Growth,
) -> dict[str, pd.DataFrame]:
    scratch = temporary / ".fresh"
    tables, each = {}, in_column_order(_mentioned(before, growth))
    for name, members in growth.members.items():
        site = growth.sites.get(name) or Site(name, root / name, pd.DataFrame(index=pd.Index([], dtype=object)))
        packing = packing_of(
            site, declaration, growth.dictionary, key, temporary / name, cache, workers, growth.problems
        )
        packing.output.mkdir()
        table = merged_table(packing, scratch, members, growth.fresh[name], before, each, outcome_columns)
        table.to_parquet(packing.output / "patients.parquet")
        tables[name] = table
    shutil.rmtree(scratch, ignore_errors=True)
    return tables


def _mentioned(before: Earlier, growth: Growth) -> list[Preparation]:
    """Modalities that the cohort tells of: the core ones, and whatever else somebody has now."""
    members = {hospital: frozenset(names) for hospital, names in growth.members.items()}
    each = []
    for name, one in preparations().items():
        fresh = any(len(one.patients(site).intersection(site.patients.index)) for site in growth.sites.values())
        stay = any(
            not members.get(hospital, frozenset()).isdisjoint(table.index[table[name]])
            for hospital, table in before.tables.items()
            if name in table
        )
        if one.storage.core or fresh or stay:
            each.append(one)
    return each


def _indices(tables: dict[str, pd.DataFrame]) -> "dict[str, pd.Index[str]]":
    return {name: table.index for name, table in tables.items()}


def _history(
    before: Earlier, growth: Growth, tables: dict[str, pd.DataFrame], counts: dict[str, int]
) -> dict[str, Any]:
    """What the cohort says of its growth; `provenance` adds up what every preparation did."""
    steps = {(one["field"], one["rule"]): one["count"] for one in before.content.get("provenance", [])}
    for one in by_rule(growth.problems.steps):
        steps[one["field"], one["rule"]] = steps.get((one["field"], one["rule"]), 0) + one["count"]
    everybody = pd.concat(list(tables.values()))
    modalities = [name for name in preparations() if name in everybody]
    flow = [
        {"step": "patients of the cohort", "patients": len(everybody)},
        {"step": "with any modality", "patients": int(everybody[modalities].any(axis=1).sum())},
    ]
    dictionary = growth.dictionary
    for name in (*dictionary.labels, *dictionary.survival.values()):
        flow.append({"step": f"with {name} known", "patients": int(everybody[name].notna().sum())})
    step = {"from": before.content["digest"], "at": datetime.now(UTC).isoformat(timespec="seconds"), **counts}
    return {
        "flow": flow,
        "provenance": [{"field": field, "rule": rule, "count": n} for (field, rule), n in steps.items()],
        "grown": [*before.content.get("grown", []), step],
    }
