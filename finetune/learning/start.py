"""Where a run goes on from a release: what it starts at, and who is new to it."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from finetune.learning.hospital_sums import HospitalSums, keeps_sums
from finetune.learning.information import FILE as INFORMATION
from finetune.learning.memory import FOLDER, Memory
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.splits import Split
from foundation.errors import UserError
from foundation.lineage import trained_on
from foundation.run_record import read_run

_HEAD = "head.safetensors"


def patients_to_learn(cohort: Cohort, parts: Split, release: Path, forget: Collection[str] = ()) -> Split:
    """The split without training and validation patients whom a release's head has learned from.

    Those whom its encoder alone has seen are new: no label of theirs was read.

    Args:
        cohort: as it is now.
        parts: of it.
        release: its folder.
        forget: hospitals of which nothing that was kept stays, so that all their patients are new.

    Raises:
        UserError: if what the release kept is of somebody who has left the cohort, or nobody can tell who is new.
    """
    _refuse_left(cohort, release)
    hospital = cohort.patients["hospital"]
    runs, known, left = _learned_in(release, forget), set[str](), frozenset[str]()
    at = set(hospital.loc[[*parts.train, *parts.validation]])
    for one in trained_on(release)[0]:
        if one.run not in runs:
            continue
        elsewhere = sorted((one.unlisted - runs[one.run]) & at)
        if elsewhere:
            raise UserError(
                f"pretrained: whom of {elsewhere[0]} {one.run} learned from stands in that hospital's own list, so "
                f"nobody can tell who is new; copy its trained_on folder to {one.run / 'sites' / elsewhere[0]}"
            )
        again = hospital.index[hospital.isin(runs[one.run] & one.hospitals)]
        known |= one.among(hospital.index.difference(again))
        left |= one.left(hospital.index)
    if left and keeps_sums(release) and _is_of(release, cohort):
        _refuse_sums(release, cohort, forget, hospital.loc[sorted(known)].value_counts().to_dict())
    train, validation = ([one for one in part if one not in known] for part in (parts.train, parts.validation))
    return Split(train, validation, parts.test)


def doubts_of(cohort: Cohort, release: Path) -> list[str]:
    """What to warn of before a run goes on from a release: information that holds who left, and lists that lack."""
    runs, trained = _learned_in(release, ()), trained_on(release)[0]
    lines = [
        f"{run} does not say whom it trained on: all its patients count as new"
        for run in sorted(runs.keys() - {one.run for one in trained})
    ]
    each = (one.left(cohort.patients.index) for one in trained if one.run in runs)
    left = frozenset[str]().union(*each)
    if left and (release / INFORMATION).is_file() and _is_of(release, cohort):
        lines.append(
            f"{release} keeps information of {len(left)} patients who have left {cohort.name}, and nothing takes it "
            "off: learning=fisher and keeps.information=true hand it on; train anew to be without"
        )
    return lines


def _refuse_left(cohort: Cohort, release: Path) -> None:
    """A memory would be learned from once more, and go on into the next release, with those who withdrew."""
    if not (release / FOLDER).is_dir() or not _is_of(release, cohort):
        return
    left = len(set(Memory.read(release).patients) - set(cohort.patients.index))
    if left:
        raise UserError(
            f"pretrained: {release} remembers {left} patients who have left {cohort.name}; remove its memory by "
            "python -m foundation.data withdrawn with purge=true, and go on by another learning=, or train anew"
        )


def _is_of(release: Path, cohort: Cohort) -> bool:
    return bool(read_run(release).get("data", {}).get("name") == cohort.name)


def _refuse_sums(release: Path, cohort: Cohort, forget: Collection[str], stay: Mapping[str, int]) -> None:
    """Sums are of more patients than a hospital still has of those learned from: they hold who withdrew, too."""
    kept = HospitalSums.read(release).patients
    short = [name for name, count in kept.items() if name not in forget and count > stay.get(name, 0)]
    if short:
        raise UserError(
            f"pretrained: sums of {release} hold patients of {', '.join(short)} who have left {cohort.name}; take them "
            f"off, and who stays is added anew, by sums.forget=[{','.join([*forget, *short])}]"
        )


def _learned_in(release: Path, forget: Collection[str]) -> dict[Path, set[str]]:
    """The runs in which a release's head learned, its own and those that it went on from: hospitals forgotten since."""
    runs: dict[Path, set[str]] = {}
    queue = [(release.resolve(), set(forget))]
    while queue:
        run, forgotten = queue.pop()
        runs[run] = forgotten
        record = read_run(run)
        config = record.get("config", {})
        parents = [(run / link["path"]).resolve() for link in record["builds_on"]]
        if config.get("learning") is not None:
            queue += [(parent, forgotten) for parent in parents if (parent / _HEAD).is_file()]
        elif config.get("method") == "sums":
            since = forgotten | set(config["sums"]["forget"])
            queue += [(parent, since) for parent in parents if keeps_sums(parent)]
    return runs


def without_waiting(
    train: PatientDataset, validation: PatientDataset, kept: Mapping[str, int], fewest: int
) -> tuple[PatientDataset, PatientDataset, list[str]]:
    """New patients without those of hospitals that have sums and too few new ones; they are new to the next run, too.

    Args:
        train: new patients.
        validation: likewise.
        kept: patients by hospital behind the release's sums.
        fewest: of a hospital that a sum may be of.

    Returns:
        Both parts, and what to warn of.
    """
    hospital = train.cohort.patients["hospital"]
    new = hospital.loc[[*train.patients, *validation.patients]].value_counts()
    waiting = {str(name): int(count) for name, count in new.items() if name in kept and count < fewest}
    for part in (train, validation):
        part.patients = [one for one in part.patients if hospital[one] not in waiting]
    lines = [
        f"sums.fewest: {count} new patients of {name} wait for a later run, for a sum of fewer than {fewest} tells of "
        "each"
        for name, count in waiting.items()
    ]
    return train, validation, lines


def release_digest(folder: Path) -> str:
    """SHA-256 of a release's head: beside its encoder, what a run that goes on from it starts at."""
    path = folder / _HEAD
    if not path.is_file():
        raise UserError(f"pretrained: {folder} holds no task model to go on from; give one, or set learning=null")
    return hashlib.sha256(path.read_bytes()).hexdigest()
