"""The patients who stay and those packed anew, put together as the cohort that one preparation would have made."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from foundation.data.growth.earlier import Earlier
from foundation.data.growth.sources import PATIENTS
from foundation.data.preparation import Packing, Preparation
from foundation.data.storage import Part


def merged_table(
    packing: Packing,
    scratch: Path,
    members: list[str],
    fresh: dict[str, set[str]],
    earlier: Earlier,
    each: list[Preparation],
    outcomes: Callable[[Packing], pd.DataFrame],
) -> pd.DataFrame:
    """Writes a hospital's packed files.

    Args:
        packing: of those of its patients who were read.
        scratch: folder for what is packed in between.
        members: all of its patients, as packed, in order.
        fresh: by modality and for `patients`, whom of them is packed anew.
        earlier: the cohort before.
        each: modalities, in the order of their columns.
        outcomes: makes the columns that no modality has.

    Returns:
        The patients' table, indexed by patient as packed.
    """
    name = packing.site.name
    order, before = pd.Index(members, name="patient_id", dtype=object), earlier.hospital_of(name)
    scratch = scratch / name

    here = order[before.index.get_indexer(order) >= 0]

    def stay(part: str) -> "pd.Index[str]":
        return here[~here.isin(fresh[part])]

    base = Part(_named(outcomes(_some(packing, fresh[PATIENTS], scratch)), packing), scratch)
    kept = Part(before.loc[stay(PATIENTS), base.table.columns.tolist()], earlier.folder / name)
    columns = [pd.concat([part.table for part in (kept, base) if len(part.table)]).loc[order]]
    for preparation in each:
        storage = preparation.storage
        folder = scratch / storage.name
        folder.mkdir(parents=True)
        new = Part(_named(preparation.pack(_some(packing, fresh[storage.name], folder)), packing), folder)
        always = [column for column in new.table if column not in storage.optional]
        staying, wanted = stay(storage.name), [*always, *before.columns.intersection(list(storage.optional))]
        if set(always) <= set(before.columns):
            kept = Part(before.loc[staying, wanted], earlier.folder / name)
        else:  # of a modality that nobody had before
            kept = Part(preparation.pack(_nothing(packing, staying, folder)), earlier.folder / name)
        columns.append(storage.merge(kept, new, order, packing.output))
    return pd.concat(columns, axis=1).rename_axis("patient_id")


def _some(packing: Packing, names: set[str], output: Path) -> Packing:
    """The same for some of the patients, as packed."""
    ids = {packed: patient for patient, packed in packing.names.items() if packed in names}
    chosen = pd.Index([ids[name] for name in sorted(names)], dtype=object)
    site = packing.site.only(chosen)
    return replace(packing, site=site if names else replace(site, tables={}), order=chosen, output=output)


def _nothing(packing: Packing, patients: "pd.Index[str]", output: Path) -> Packing:
    site = replace(packing.site, tables={})
    return replace(packing, site=site, order=patients, output=output)


def _named(table: pd.DataFrame, packing: Packing) -> pd.DataFrame:
    return table.set_axis(pd.Index([packing.names[patient] for patient in table.index], dtype=object), axis=0)
