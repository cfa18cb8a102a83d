"""Patients in the files of a run: in lists of who trained it, in its split, its predictions, its hospitals' answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation import query_sets
from foundation.data.split_file import PARTS
from foundation.errors import UserError
from foundation.files import read_json
from foundation.lineage import FILE as TRAINED
from foundation.lineage import NOTE, SITE_LISTS, site_list
from foundation.patient_list import PatientList, digests_of_ids

SPLIT = "split.json"
ADVICE = "restore it, or move the run away"
_PREDICTIONS = "predictions.parquet"  # of an evaluation, whose patients may be of no training at all


@dataclass(frozen=True)
class Named:
    """Patients in a file: names, and digests of who has withdrawn since."""

    names: frozenset[str]
    withdrawn: frozenset[str] = frozenset()

    @property
    def digests(self) -> frozenset[str]:
        """Of all their ids."""
        return digests_of_ids(self.names) | self.withdrawn


def lists_of(run: Path, record: dict[str, Any]) -> dict[Path, Named]:
    """By file, the patients whom a run, or a site of a federated one, learned from, set apart or answered.

    Sites' folders may outlive a run, and hold lists of others.
    """
    told = record.get("notes", {}).get(NOTE, {})
    own = site_list(Path(), told["run"]).name if "run" in told else "*.json"
    paths = [run / name for name in (TRAINED, SPLIT, _PREDICTIONS) if (run / name).is_file()]
    paths += sorted(run.glob(f"sites/*/trained_on/{own}")) + sorted(run.glob("trained_on/*.json"))
    lists = {path: Named(query_sets.QuerySet.read(path).patients) for path in _query_sets(run)}
    for path in paths:
        if path.suffix == ".parquet":
            column = read_table(path).get("patient", pd.Series(dtype=object))
            lists[path] = Named(frozenset(column.dropna().astype(str)))
        elif is_of_training(path):
            listed = PatientList.read(path, ADVICE)
            lists[path] = Named(listed.patients, listed.withdrawn)
        else:
            content = read_json(path, ADVICE)
            lists[path] = Named(frozenset(str(one) for part in PARTS for one in content.get(part, [])))
    return lists


def _query_sets(run: Path) -> list[Path]:
    return sorted(run.glob(f"sites/*/state/{query_sets.FOLDER}/*.json"))


def is_of_training(path: Path) -> bool:
    """Whether it is a list of who trained a run."""
    return path.name == TRAINED or path.parent.name == SITE_LISTS


def read_table(path: Path) -> pd.DataFrame:
    """A table of a run.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # of pandas and pyarrow, whose words may quote a patient's row
        raise UserError(f"{path}: not readable as Parquet; {ADVICE}") from error
