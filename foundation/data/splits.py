"""Splits by patient: whole hospitals held out, folds, or parts given in a file; the rest's share for validation.

In a cohort that grows nobody moves: who was there first stays where the first draw put them, whoever has left since,
and who came later goes by a keyed hash of the patient's id alone. Both go by the hospital where a patient was first, so
that whoever leaves and returns, or changes hospital, keeps the part; but a hospital held out tests all it has.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data.cohort import Cohort
from foundation.data.problems import refuse
from foundation.data.split_file import PARTS, SplitSource, read_parts, split_source
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.patient_list import blinded
from foundation.run_record import digest_of

_ADVICE = "run python -m finetune again"


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

    def evaluation(self, whole_hospitals: bool) -> list[str]:
        """Who measures a run while choices are left: validation patients, and those of hospitals held out as a whole.

        Test patients of a hospital that trains (of a fold, or a table of parts) wait for the evaluation of heads.

        Args:
            whole_hospitals: whether test patients are those of whole hospitals.
        """
        return [*self.validation, *(self.test if whole_hospitals else [])]

    @property
    def digest(self) -> str:
        """Of who trains and who is validated on."""
        return digest_of([self.train, self.validation])

    @classmethod
    def read(cls, path: Path, cohort_digest: str, patients: Collection[str], earlier: Collection[str] = ()) -> "Split":
        """What `save` wrote of a cohort.

        Args:
            path: of the file.
            cohort_digest: of the cohort.
            patients: of the cohort.
            earlier: digests that it had before it grew; of a split of those, whoever has left since is left out.

        Raises:
            UserError: if it is damaged, of another cohort, or names somebody who is none of its patients.
        """
        content = read_json(path, _ADVICE, "cohort_digest", *PARTS)
        known, now = set(patients), content["cohort_digest"] == cohort_digest
        if not now and content["cohort_digest"] not in earlier:
            raise UserError(f"{path}: its cohort was prepared anew since; {_ADVICE}")
        for name in PARTS:
            if not isinstance(content[name], list) or (now and not set(map(str, content[name])) <= known):
                raise UserError(f"{path}: {name} is no list of the cohort's patients; {_ADVICE}")
        return cls(*([patient for patient in map(str, content[name]) if patient in known] for name in PARTS))

    def save(self, path: Path, cohort_digest: str) -> None:
        """Writes the split beside the digest of the cohort that it was drawn from."""
        write_json(path, {"cohort_digest": cohort_digest, **asdict(self)})


def blind_split(path: Path, present: Collection[str]) -> None:
    """Changes in what `Split.save` wrote the names of those who are not present for digests, which nobody reads back.

    Raises:
        UserError: if it is no split.
    """
    write_json(path, blinded(read_json(path, _ADVICE, *PARTS), PARTS, present))


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
        source = split_source(data["split_file"])
        parts = read_split(cohort, source)
        if source.validation == "file":
            return parts
        listed = read_parts(source)
        train = set(listed.index[listed == "train"])
        return with_validation(cohort, parts, train, data["validation_fraction"], data["split_seed"])
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

    def tested(hospital: str, patients: Sequence[str | None]) -> Sequence[int]:
        return range(len(patients)) if hospital in test_hospitals else ()

    def tested_later(hospital: str, patient: str) -> bool:
        return hospital in test_hospitals

    drawn = _drawn(cohort, tested, tested_later, validation_fraction, seed)
    held_out = set(cohort.patients.index[cohort.patients["hospital"].isin(test_hospitals)])
    train, validation = ([one for one in part if one not in held_out] for part in (drawn.train, drawn.validation))
    moved = [one for one in (*drawn.train, *drawn.validation) if one in held_out]
    return Split(train, validation, [*drawn.test, *moved])


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
    if stratify is not None and cohort.grown:
        raise UserError(
            f"data.stratify: {cohort.name} has grown, and dealing it by label anew would move patients from fold to "
            "fold; say data.stratify=null, or list the parts in data.split_file"
        )

    def tested(hospital: str, patients: Sequence[str | None]) -> Sequence[int]:
        order = np.random.default_rng([seed, *hospital.encode()]).permutation(len(patients)).tolist()
        if stratify is not None:
            label = cohort.patients[stratify]
            order.sort(key=lambda i: (np.isnan(label[patients[i]]), label[patients[i]]))  # stable: shuffled inside
        return sorted(order[fold::folds])

    def tested_later(hospital: str, patient: str) -> bool:
        return int(_chance(patient, "fold", hospital, seed) * folds) == fold

    return _drawn(cohort, tested, tested_later, validation_fraction, seed, fold)


def read_split(cohort: Cohort, source: SplitSource) -> Split:
    """Parts from a table, see `foundation.data.split_file`; patients of hospitals outside the view are passed by.

    Raises:
        UserError: on a patient nobody knows or who stands twice, a part that is none, or patients left unsaid.
    """
    path, part = Path(source.file), read_parts(source)
    twice = part.index[part.index.duplicated()]
    if len(twice):
        where = " and ".join(dict.fromkeys(part[[twice[0]]]))
        raise refuse(path, f"patient stands twice, in {where}", "list each patient once", "patient_id", value=twice[0])
    unsaid = cohort.patients.index.difference(part.index)
    if len(unsaid):
        raise refuse(path, f"{len(unsaid)} patients of {cohort.name} are in no part", "list all", value=unsaid[0])
    everybody = cohort.hospitals == cohort.declared
    unknown = part.index.difference(cohort.patients.index)
    if everybody and len(unknown):
        raise refuse(path, f"not in {cohort.name}", "drop the row", field="patient_id", value=unknown[0])
    part_of = part.loc[cohort.patients.index]
    return Split(*(sorted(part_of.index[part_of == name]) for name in PARTS))


def with_validation(cohort: Cohort, parts: Split, train: Collection[str], fraction: float, seed: int) -> Split:
    """The split with a share of its training patients, hospital by hospital, drawn for validation.

    Args:
        cohort: prepared.
        parts: of the view's patients.
        train: all training patients, in the view or not: whoever has changed hospital is drawn where they were first.
        fraction: of the training patients.
        seed: of the draw.

    Raises:
        UserError: if it has patients of validation already, or somebody left the cohort, so that nobody knows of which
            part they were.
    """
    if parts.validation:
        finding = f"split_file: {len(parts.validation)} patients of validation stand in it"
        raise UserError(f"{finding}; say validation: file, or list them under train")
    if any(None in cohort.first_of_all(hospital) for hospital in cohort.origins):
        finding = f"split_file: patients have left {cohort.name}, and drawing others for validation would move some"
        raise UserError(f"{finding}; list the parts, and say validation: file")

    def tested(hospital: str, patients: Sequence[str | None]) -> Sequence[int]:
        return [place for place, patient in enumerate(cohort.first_of_all(hospital)) if patient not in train]

    return _drawn(cohort, tested, lambda hospital, patient: patient not in train, fraction, seed)


def _drawn(
    cohort: Cohort,
    tested: Callable[[str, Sequence[str | None]], Sequence[int]],
    tested_later: Callable[[str, str], bool],
    fraction: float,
    *key: int,
) -> Split:
    """Hospital by hospital, those tested, and a share of the others drawn for validation by `key`, all in order.

    Args:
        cohort: prepared.
        tested: positions of test patients in a hospital's first list, in which None stands for one who left.
        tested_later: whether one who came to a hospital since is a test patient.
        fraction: of the patients not tested.
        key: of the draw.
    """
    parts: dict[str, list[str | None]] = {name: [] for name in PARTS}
    for hospital in cohort.origins:
        first = cohort.first(hospital)
        chosen = tested(hospital, first)
        rest = sorted(set(range(len(first))).difference(chosen))
        order = np.random.default_rng([key[0], *hospital.encode(), *key[1:]]).permutation(len(rest))
        count = round(fraction * len(rest))
        parts["train"] += [first[rest[i]] for i in sorted(order[count:])]
        parts["validation"] += [first[rest[i]] for i in sorted(order[:count])]
        parts["test"] += [first[place] for place in chosen]
        for patient in cohort.later(hospital):
            drawn = "validation" if _chance(patient, "validation", hospital, *key) < fraction else "train"
            parts["test" if tested_later(hospital, patient) else drawn].append(patient)
    return Split(*([patient for patient in parts[name] if patient is not None] for name in PARTS))


def _chance(patient: str, *key: object) -> float:
    """A number in [0, 1) that hangs on the patient and the key alone: 64 bits of keyed BLAKE2b (RFC 7693)."""
    digest = hashlib.blake2b(patient.encode(), digest_size=8, key=digest_of([*map(str, key)]).encode())
    return int.from_bytes(digest.digest(), "big") / 2**64
