"""Splits by patient: whole hospitals held out, folds, or parts given in a file; the rest's share for validation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from foundation.data.cohort import Cohort
from foundation.data.problems import refuse
from foundation.data.tables import TableSource, read_source
from foundation.errors import UserError
from foundation.files import write_json

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Patient ids by part; no patient stands in two."""

    train: list[str]
    validation: list[str]
    test: list[str]

    def __post_init__(self) -> None:
        parts = pd.Series([*self.train, *self.validation, *self.test])
        twice = parts[parts.duplicated()]
        if len(twice):
            raise UserError(f"split: patient {min(twice)} stands in two parts; list each patient once")

    def save(self, path: Path, cohort_digest: str) -> None:
        """Writes the split beside the digest of the cohort that it was drawn from."""
        write_json(path, {"cohort_digest": cohort_digest, **asdict(self)})


def configured_split(cohort: Cohort, data: Mapping[str, Any]) -> Split:
    """The split that the config's `data` describes.

    Args:
        cohort: prepared.
        data: `test_hospitals`, `validation_fraction`, `split_seed`, `folds`, `fold`, `stratify`, `split_file`.

    Raises:
        UserError: if two ways to choose test patients are given at once, or one cannot be followed.
    """
    ways = [name for name in ("test_hospitals", "folds", "split_file") if data[name]]
    if len(ways) > 1:
        raise UserError(
            f"data.{ways[0]} and data.{ways[1]}: both choose the test patients; give one "
            "(data.test_hospitals=[] holds no hospital out)"
        )
    if data["split_file"]:
        return read_split(cohort, split_source(data["split_file"]))
    fraction, seed = data["validation_fraction"], data["split_seed"]
    if data["folds"]:
        return split_folds(cohort, data["folds"], data["fold"], data["stratify"], fraction, seed)
    return split(cohort, list(data["test_hospitals"]), fraction, seed)


def split(cohort: Cohort, test_hospitals: list[str], validation_fraction: float, seed: int) -> Split:
    """Holds whole hospitals out and draws validation patients from each other hospital.

    Each hospital draws by itself, so that a hospital alone in a federation gets the split that a pooled run gives it.

    Raises:
        UserError: if a hospital to hold out is not in the cohort.
    """
    for hospital in test_hospitals:
        if hospital not in cohort.declared:
            raise UserError(
                f"test_hospitals: '{hospital}' is not in {cohort.name}; it has {', '.join(cohort.declared)}"
            )
    train: list[str] = []
    validation: list[str] = []
    test: list[str] = []
    for hospital, patients in _by_hospital(cohort):
        if hospital in test_hospitals:
            test += patients
            continue
        kept, drawn = _draw(patients, validation_fraction, [seed, *hospital.encode()])
        train += kept
        validation += drawn
    return Split(train, validation, test)


def split_folds(
    cohort: Cohort, folds: int, fold: int, stratify: str | None, validation_fraction: float, seed: int
) -> Split:
    """One of k folds as test: each hospital deals its patients to the folds by itself, stratum by stratum.

    Folds of a hospital differ by at most one patient, and so do those of a stratum; over all folds every patient is
    tested once.

    Args:
        cohort: prepared.
        folds: at least 2.
        fold: 0 to folds - 1, the one to test on.
        stratify: a label column; patients whose label is unknown are a stratum of their own.
        validation_fraction: of the patients outside the fold.
        seed: of the deal.

    Raises:
        UserError: on a fold that is not there, or a label that the cohort lacks.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise UserError(f"data.fold: found {fold} of data.folds={folds}; give 2 folds or more, and one from 0 on")
    if stratify is not None and stratify not in cohort.dictionary.labels:
        raise UserError(f"data.stratify: '{stratify}' is no label; there are {', '.join(cohort.dictionary.labels)}")
    train: list[str] = []
    validation: list[str] = []
    test: list[str] = []
    for hospital, patients in _by_hospital(cohort):
        key = [seed, *hospital.encode()]
        order = [patients[i] for i in np.random.default_rng(key).permutation(len(patients))]
        if stratify is not None:
            label = cohort.patients[stratify]
            order.sort(key=lambda patient: (np.isnan(label[patient]), label[patient]))  # stable: shuffled inside
        tested = sorted(order[fold::folds])
        rest = sorted(set(patients) - set(tested))
        kept, drawn = _draw(rest, validation_fraction, [*key, fold])
        train += kept
        validation += drawn
        test += tested
    return Split(train, validation, test)


def split_source(source: str | Mapping[str, Any]) -> TableSource:
    """The table of parts: a file with `patient_id` and `part`, or a declaration that says how its columns are called.

    Raises:
        UserError: on a field that a table's declaration has not.
    """
    if isinstance(source, str):
        return TableSource(file=source)
    try:
        return TableSource.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"split_file.{field}: {first['msg']}; give file, key and columns: {{part: ...}}") from error


def read_split(cohort: Cohort, source: TableSource) -> Split:
    """Parts from a table with `patient_id` and `part`; rows of hospitals outside the view are passed by.

    Raises:
        UserError: on a patient nobody knows or who stands twice, a part that is none, or patients left unsaid.
    """
    path = Path(source.file)
    table = read_source(Path(), source)
    if "part" not in table:
        raise refuse(path, "no column 'part'", f"say {', '.join(PARTS)} there", field="part")
    strange = table.index[~table["part"].isin(PARTS)]
    if len(strange):
        value = table.loc[strange[0], "part"]
        raise refuse(path, f"patient {strange[0]} is in no part", f"say {', '.join(PARTS)}", field="part", value=value)
    unsaid = cohort.patients.index.difference(table.index)
    if len(unsaid):
        raise refuse(path, f"{len(unsaid)} patients of {cohort.name} are in no part", "list all", value=unsaid[0])
    everybody = cohort.hospitals == cohort.declared
    unknown = table.index.difference(cohort.patients.index)
    if everybody and len(unknown):
        raise refuse(path, f"not in {cohort.name}", "drop the row", field="patient_id", value=unknown[0])
    part_of = table.loc[cohort.patients.index, "part"]
    return Split(*(sorted(part_of.index[part_of == part]) for part in PARTS))


def _by_hospital(cohort: Cohort) -> list[tuple[str, list[str]]]:
    hospital = cohort.patients["hospital"]
    return [(name, sorted(hospital.index[hospital == name])) for name in cohort.hospitals]


def _draw(patients: list[str], fraction: float, key: list[int]) -> tuple[list[str], list[str]]:
    """What is kept and what is drawn, both in order."""
    order = np.random.default_rng(key).permutation(len(patients))
    count = round(fraction * len(patients))
    return [patients[i] for i in sorted(order[count:])], [patients[i] for i in sorted(order[:count])]
