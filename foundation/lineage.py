"""Who trained a run and all that it builds on: patients by id, in the run's own folder, as its split is.

At a federated run each hospital keeps its own list; the run's record tells the hospitals alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.patient_list import PatientList, digest_of_id, digests_of_ids, write_patients
from foundation.run_record import digest_of, read_run, walk

FILE = "trained_on.json"
SEEN = "Seen in training"  # first words of a page whose test patients were
NOTE = "trained_on"  # in the run record: hospitals, and the digest of the list or the name of the federated run
SITE_LISTS = "trained_on"  # folder beside a hospital's ledger
LEARNED_IN = "federated_runs"  # in the record of what is handed on: names by which hospitals know the runs behind it
_NOBODY = frozenset[str]()
_TRAINS = ("python -m pretrain", "python -m finetune")  # also of their federated commands
_READS = ("python -m pretrain.controls", "python -m finetune.evaluate", "python -m finetune.federated.evaluate")


@dataclass(frozen=True)
class Trained:
    """Who trained one run.

    Attributes:
        run: its folder.
        patients: ids of those whom it learned from or chose weights on, and who have not withdrawn since.
        hospitals: of those.
        unlisted: hospitals whose list lies elsewhere: any of their patients may have trained.
        withdrawn: digests of the ids of those who have withdrawn since.
    """

    run: Path
    patients: frozenset[str]
    hospitals: frozenset[str]
    unlisted: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()

    def among(self, patients: Iterable[str]) -> set[str]:
        """Those of some patients who trained it, and have not left or have returned since."""
        each = set(patients)
        known = each & self.patients
        return known | {one for one in each - known if digest_of_id(one) in self.withdrawn} if self.withdrawn else known

    def left(self, present: Iterable[str]) -> frozenset[str]:
        """Digests of those who trained it and are not present."""
        here = set(present)
        returned = digests_of_ids(here) if self.withdrawn else _NOBODY
        return digests_of_ids(self.patients - here) | (self.withdrawn - returned)


def note_of(output: Path, train: Sequence[str], validation: Sequence[str], hospitals: Sequence[str]) -> dict[str, Any]:
    """Writes a run's list, and gives what its record says of it: counts, no ids."""
    digest = write_patients(output / FILE, train, validation, hospitals)
    counts = {"train": len(train), "validation": len(validation)}
    return {"hospitals": sorted(set(hospitals)), "patients": counts, "digest": digest}


def site_list(home: Path, run: str) -> Path:
    """Where a hospital keeps the list of a federated run, told by the run's name."""
    return home / SITE_LISTS / f"{digest_of(run)[:16]}.json"


def federated_runs(run: Path) -> list[str]:
    """Names of the federated runs behind a run, itself among them, for the record of what is handed on without them.

    Raises:
        UserError: if a linked run is gone or was changed.
    """
    return sorted({name for one in walk(run) for name in names_of(one.content)})


def names_of(record: Mapping[str, Any]) -> frozenset[str]:
    """The federated runs that a run record names: the run's own, and those behind what was handed on."""
    notes = record.get("notes", {})
    own = notes.get(NOTE, {})
    return frozenset(map(str, [*([own["run"]] if "run" in own else []), *notes.get(LEARNED_IN, [])]))


def trained_on(run: Path) -> tuple[list[Trained], list[str]]:
    """Who trained a run and each that it builds on, nearest first; and what of it nobody can tell.

    Raises:
        UserError: if a list is gone or was changed, or a linked run was.
    """
    known, untold = [], []
    for folder, record, _ in walk(run):
        command = str(record["command"])
        if not command.startswith(_TRAINS) or command in _READS:
            continue
        note = record.get("notes", {}).get(NOTE)
        if note is None:
            untold.append(f"{_short(folder)} does not say whom it trained on")
        else:
            known.append(_of_run(folder, note))
        if command == "python -m finetune" and not any(
            str(read_run((folder / link["path"]).resolve())["command"]).startswith(_TRAINS)
            for link in record["builds_on"]
        ):
            untold.append(f"{_short(folder)} started from an encoder without a run record")
    return known, untold


def _short(folder: Path) -> Path:
    """As cards name runs: the rest of the path is the machine's."""
    return Path(*folder.parts[-2:])


def _of_run(folder: Path, note: Mapping[str, Any]) -> Trained:
    hospitals = frozenset(map(str, note["hospitals"]))
    if "run" not in note:
        own = _patients(folder / FILE, note["digest"])
        return Trained(folder, own.patients, hospitals, withdrawn=own.withdrawn)
    lists = {name: site_list(folder / "sites" / name, note["run"]) for name in hospitals}
    here = {name: path for name, path in lists.items() if path.is_file()}
    each = [_patients(path) for path in here.values()]
    patients = _NOBODY.union(*(one.patients for one in each))
    withdrawn = _NOBODY.union(*(one.withdrawn for one in each))
    return Trained(folder, patients, hospitals, hospitals - here.keys(), withdrawn)


def _patients(path: Path, digest: str | None = None) -> PatientList:
    listed = PatientList.read(path, "restore it, or run that step again")
    if digest is not None and listed.digest != digest:
        raise UserError(f"{path}: changed since the run wrote it; restore it, or run that step again")
    return listed


@dataclass(frozen=True)
class Seen:
    """What a run knew of those whom it is to be tested on, from its own training or that of a run it builds on.

    Attributes:
        run: the one that knew.
        patients: how many of the test patients.
        tested: of how many; None where the patients lie elsewhere.
        hospitals: called held out, though patients of them trained.
    """

    run: Path
    patients: int
    tested: int | None
    hospitals: tuple[str, ...] = ()

    def __str__(self) -> str:
        places = f"hospital{'s' if len(self.hospitals) > 1 else ''} {', '.join(self.hospitals)}"
        run = _short(self.run)
        if self.tested is None:
            return f"{run} trained on patients of {places}"
        if not self.patients:
            return f"{run} trained on other patients of {places}"
        of_places = f" ({places})" if self.hospitals else ""
        return f"{run} trained on {self.patients} of {self.tested} test patients{of_places}"


def seen_by(run: Path, test: Mapping[str, str] | None, held_out: Sequence[str]) -> tuple[list[Seen], list[str]]:
    """Runs that trained on test patients, or at hospitals that are called held out; and what nobody can tell.

    Args:
        run: that is tested, with all that it builds on.
        test: hospital by id of the test patients; None where they lie elsewhere.
        held_out: hospitals whose patients are all for testing.
    """
    known, untold = trained_on(run)
    seen = []
    for one in known:
        trained = one.among(test or ())
        patients = [name for name, at in (test or {}).items() if name in trained or at in one.unlisted]
        hospitals = tuple(name for name in held_out if name in one.hospitals)
        if patients or hospitals:
            seen.append(Seen(one.run, len(patients), None if test is None else len(test), hospitals))
    return seen, untold


def said_first(runs: Sequence[Path], test: Mapping[str, str] | None, held_out: Sequence[str], allow_seen: bool) -> str:
    """What a page must say first where test patients are, or may be, known to what is tested; empty where they are not.

    Args:
        runs: that are tested, with all that they build on.
        test: hospital by id of the test patients; None where they lie elsewhere.
        held_out: hospitals whose patients are all for testing.
        allow_seen: whether patients who were seen may be tested all the same.

    Raises:
        UserError: if somebody was seen and that is not allowed.
    """
    both = [seen_by(run, test, held_out) for run in runs]
    seen, untold = (
        ([line for part in parts for line in part] for parts in zip(*both, strict=True)) if both else ([], [])
    )
    if seen and not allow_seen:
        raise UserError(
            f"test patients: {seen[0]}, so they are not held out; hold them out there, too, and train again, or test "
            "them all the same with allow_seen=true, and every page says so first"
        )
    known = [f"{SEEN}, not held out: {'; '.join(map(str, seen))}."] if seen else []
    return " ".join([*known, *(f"Who trained it is not known in full: {line}." for line in untold)])


def trained_groups(records: Iterable[dict[str, Any]]) -> set[str]:
    """The modalities, among other parameter groups, that any patient trained, by what run records tell.

    Args:
        records: `run.json` of a run and of those that it builds on.

    Raises:
        UserError: if a record's notes are of another form.
    """
    names: set[str] = set()
    for record in records:
        samples = _counts(record, "samples")
        nested = [isinstance(value, dict) for value in samples.values()]
        if any(nested) and not all(nested):
            raise _malformed(record, "samples")
        by_site = samples.values() if any(nested) else [samples]
        names |= {name for counts in by_site for name, count in counts.items() if count}
        names |= {name for name, count in _counts(record, "modalities").items() if count}
        coverage = _counts(record, "coverage")
        if not all(isinstance(shares, dict) for shares in coverage.values()):
            raise _malformed(record, "coverage")
        # Sites whose updates were summed in secret say nothing one by one.
        names |= {name for name, shares in coverage.items() if any(shares.values())}
    return names


def _counts(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A note of a run record that holds counts by name; empty where there is none."""
    notes = record.get("notes", {})
    counts = notes.get(name, {}) if isinstance(notes, dict) else None
    if not isinstance(counts, dict):
        raise _malformed(record, name)
    return counts


def _malformed(record: Mapping[str, Any], name: str) -> UserError:
    return UserError(
        f"run.json of {record.get('command', 'a run')}: notes.{name} holds no counts by name; restore the file, or run "
        "that step again"
    )
