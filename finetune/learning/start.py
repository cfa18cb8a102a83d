"""Where a run goes on from a release: what it starts at, and who is new to it."""

import hashlib
from collections.abc import Collection
from pathlib import Path

from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.errors import UserError
from foundation.lineage import trained_on


def patients_to_learn(cohort: Cohort, parts: Split, release: Path, forget: Collection[str] = ()) -> Split:
    """The split without training and validation patients whom a release, or what it builds on, has learned from.

    Args:
        cohort: as it is now.
        parts: of it.
        release: its folder.
        forget: hospitals of which nothing that was kept stays, so that all their patients are new.
    """
    hospital = cohort.patients["hospital"]
    again = set(hospital.index[hospital.isin(list(forget))])
    known = {patient for one in trained_on(release)[0] for patient in one.patients} - again
    train, validation = ([one for one in part if one not in known] for part in (parts.train, parts.validation))
    return Split(train, validation, parts.test)


def release_digest(folder: Path) -> str:
    """SHA-256 of a release's head: beside its encoder, what a run that goes on from it starts at."""
    path = folder / "head.safetensors"
    if not path.is_file():
        raise UserError(f"pretrained: {folder} holds no task model to go on from; give one, or set learning=null")
    return hashlib.sha256(path.read_bytes()).hexdigest()
