"""What learned from patients who are no longer in a cohort, and which files of runs still hold something of theirs.

Whoever stands in a run's own lists and not in the prepared cohort has left it. Weights cannot forget: a run that
learned from somebody is named, with all that was built on it. Caches of embeddings can be removed; in lists of who
trained a run, and in its split, the name gives way to a digest by which the run is still told, and in the sets of
patients behind a hospital's answers to a blind id. Tables of predictions stay as they are: releases rest on them byte
for byte.
"""

import html
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation import query_sets
from foundation.data.cohort import Cohort
from foundation.data.federated_lists import lists_apart
from foundation.data.run_lists import ADVICE, SPLIT, is_of_training, lists_of, read_table
from foundation.data.splits import blind_split
from foundation.errors import UserError
from foundation.lineage import names_of
from foundation.patient_list import blind_list, digests_of_ids
from foundation.run_record import FILE, read_run

CACHES = ("rows.json", "patients.json")  # whose embeddings, or whose pooled features, lie beside
_SITE = "hospital's state in a federation"  # which lies apart from runs where the hospital is not simulated
_LISTED = "hospital's lists of federated runs"
_TEXT = (".json", ".jsonl", ".csv", ".tsv", ".md", ".html")
_LARGEST = 1 << 28  # bytes of a file that is looked through
_WORD = re.compile(r'[^\s",;|<>\\\[\](){}]+')


@dataclass
class Affected:
    """A run that learned from somebody who left, or was built on one that did.

    Attributes:
        run: its folder.
        command: that made it.
        patients: how many of those who left it learned from itself.
        through: the runs it builds on that did.
        lost: folders of runs it builds on, directly or through others, that are gone: whom those learned from, nobody
            can tell.
        files: of its folder that still name one.
    """

    run: Path
    command: str
    patients: int = 0
    through: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values; counts, no ids."""
        lists = {name: [str(path) for path in getattr(self, name)] for name in ("through", "lost", "files")}
        return {**vars(self), "run": str(self.run), **lists}


def affected_by_withdrawal(cohort: Cohort, roots: Sequence[Path]) -> tuple[int, list[Affected]]:
    """How many patients of the runs' lists have left the cohort, and what they are still behind.

    A federated run and what is handed on of it name none of a hospital's patients: the hospital's own lists do.

    Args:
        cohort: as prepared now; of a federation's site, its own.
        roots: folders in which runs are looked for, releases among them. Runs elsewhere that these build on are asked
            whom they learned from, and are named where they are gone; their files are left alone.

    Raises:
        UserError: if a root is no folder, or a run's list cannot be read.
    """
    records = dict(_runs(roots))
    within = set(records)
    queue = [parent for run, record in records.items() for parent in _parents(run, record)]
    while queue:
        parent = queue.pop()
        if parent not in records and (parent / FILE).is_file():
            records[parent] = read_run(parent)
            queue += _parents(parent, records[parent])
    lists = {
        run: lists_of(run, record)
        for run, record in records.items()
        if record.get("data", {}).get("name") == cohort.name
    }
    present = set(cohort.patients.index)
    apart = dict(_states_apart(roots, within, present))
    hospitals = list(lists_apart(roots, within, present))
    named = [*(each.names for of_run in lists.values() for each in of_run.values()), *apart.values()]
    named += [one.patients for listed in hospitals for one in listed.lists.values()]
    gone = {one for patients in named for one in patients} - present
    left = digests_of_ids(gone).union(*(each.withdrawn for of_run in lists.values() for each in of_run.values()))
    left = left.union(*(one.withdrawn for listed in hospitals for one in listed.lists.values()))
    left -= digests_of_ids(present)
    each = {
        state: Affected(state, _SITE, files=list(_files_that_name(state, gone)))
        for state, patients in apart.items()
        if not gone.isdisjoint(patients)
    }
    here = {name for record in records.values() for name in names_of(record)}
    for listed in hospitals:
        of_hospital = left & frozenset[str]().union(*(one.digests for one in listed.lists.values()))
        if of_hospital:
            files = [path for path, one in listed.lists.items() if not gone.isdisjoint(one.patients)]
            foreign = listed.elsewhere(here, left)
            each[listed.folder] = Affected(listed.folder, _LISTED, len(of_hospital), elsewhere=foreign, files=files)
    for run, record in records.items():
        own = [one.digests for path, one in lists.get(run, {}).items() if is_of_training(path)]
        trained = left & frozenset[str]().union(*own, *(listed.of(names_of(record)) for listed in hospitals))
        files = list(_files_that_name(run, gone)) if run in lists and run in within else []
        if trained or files:
            each[run] = Affected(run, str(record.get("command")), len(trained), files=files)
    learned = {run for run, one in each.items() if one.patients}
    while more := {run: _parents(run, record) & learned for run, record in records.items() if run not in learned}:
        if not any(more.values()):
            break
        for run, through in more.items():
            if through:
                one = each.setdefault(run, Affected(run, str(records[run].get("command"))))
                one.through = sorted(through)
                learned.add(run)
    for run, lost in _lost_ancestors(records).items():
        each.setdefault(run, Affected(run, str(records[run].get("command")))).lost = sorted(lost)
    return len(left), [each[run] for run in sorted(each)]


def remove_caches(affected: Iterable[Affected]) -> list[Path]:
    """Removes the folders of embeddings that hold somebody who left; they are computed anew when they are needed."""
    folders = [path.parent for one in affected for path in one.files if path.name in CACHES]
    for folder in folders:
        shutil.rmtree(folder)
    return folders


def blind_query_sets(affected: Iterable[Affected], cohort: Cohort) -> list[Path]:
    """Changes the names of those who left for blind ids in the sets of patients behind answers; files that changed."""
    folders = {path.parent for one in affected for path in one.files if path.parent.name == query_sets.FOLDER}
    return [path for folder in sorted(folders) for path in query_sets.blind(folder, cohort.patients.index)]


def blind_lists(affected: Iterable[Affected], cohort: Cohort) -> list[Path]:
    """Changes the names of those who left for digests in the lists and splits of runs; files that changed."""
    present, changed = set(cohort.patients.index), []
    for path in (path for one in affected for path in one.files):
        if path.name == SPLIT:
            blind_split(path, present)
        elif is_of_training(path):
            blind_list(path, present, ADVICE)
        else:
            continue
        changed.append(path)
    return changed


def _states_apart(
    roots: Sequence[Path], runs: Iterable[Path], present: set[str]
) -> Iterator[tuple[Path, frozenset[str]]]:
    """States of hospitals that lie in no run, and whom their answers were about: of this cohort if it has one of them.

    Where it has none, nobody can tell whether all have left or the hospital is another's.
    """
    runs = set(runs)
    for folder in (folder.resolve() for root in roots for folder in sorted(root.rglob(query_sets.FOLDER))):
        if not folder.is_dir() or not runs.isdisjoint(folder.parents):
            continue
        patients = frozenset[str]().union(*(query_sets.QuerySet.read(path).patients for path in folder.glob("*.json")))
        if not present.isdisjoint(patients):
            yield folder.parent, patients


def _runs(roots: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: no folder; give runs=[FOLDER] with those in which runs and releases lie")
        for path in sorted(root.resolve().rglob(FILE)):
            yield path.parent, read_run(path.parent)


def _parents(run: Path, record: dict[str, Any]) -> set[Path]:
    return {(run / link["path"]).resolve() for link in record.get("builds_on", [])}


def _lost_ancestors(records: Mapping[Path, dict[str, Any]]) -> dict[Path, set[Path]]:
    """By run, the folders it builds on, directly or through other runs, that hold no record any more."""
    parents = {run: _parents(run, record) for run, record in records.items()}
    lost = {run: of for run, folders in parents.items() if (of := folders - records.keys())}
    grown = True
    while grown:
        grown = False
        for run, folders in parents.items():
            inherited = {one for parent in folders for one in lost.get(parent, ())}
            if not inherited <= lost.get(run, set()):
                lost[run], grown = lost.get(run, set()) | inherited, True
    return lost


def _files_that_name(run: Path, gone: set[str]) -> Iterator[Path]:
    """Files of a run, and none of a run within it, in which somebody who left stands."""
    inner, phrases = [path.parent for path in run.rglob(FILE) if path.parent != run], _phrases(gone)
    for path in sorted(run.rglob("*")):
        if not gone or not path.is_file() or any(path.is_relative_to(other) for other in inner):
            continue
        if path.suffix == ".parquet":
            table = read_table(path)
            words = {str(word) for name in table.select_dtypes("object") for word in table[name].dropna().unique()}
            words |= set(map(str, table.index))
        elif path.suffix in _TEXT and path.stat().st_size <= _LARGEST:
            text = path.read_text(errors="replace")
            if phrases is not None and phrases.search(text):
                yield path
                continue
            words = set(_WORD.findall(text))
        else:
            continue
        if not gone.isdisjoint(words):
            yield path


def _phrases(patients: Iterable[str]) -> re.Pattern[str] | None:
    """Of ids that stand in a text as several words, or escaped as JSON and HTML do it; None where all are plain."""
    odd = [one for one in patients if not (one.isascii() and one == html.escape(one) and _WORD.fullmatch(one))]
    forms = sorted({form for one in odd for form in (one, json.dumps(one)[1:-1], html.escape(one))})
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, forms))})(?!\w)") if forms else None


def as_text(count: int, affected: Sequence[Affected]) -> str:
    """For people: which runs and releases learned from those who left, and what still names them."""
    if not affected:
        return f"{count} patients have left; no run or release here learned from any, and no file names one\n"
    gone = "gone, so that nobody can tell whom it learned from; restore it, or train anew"
    lines = [f"{count} patients of the runs' lists are no longer in the cohort"]
    for one in affected:
        why = [f"learned from {one.patients} of them"] if one.patients else []
        why += [f"builds on {', '.join(str(path) for path in one.through)}"] if one.through else []
        why += [f"builds on {', '.join(str(path) for path in one.lost)}, {gone}"] if one.lost else []
        why += [f"federated run {name}, of which nothing lies here, did: tell its operator" for name in one.elsewhere]
        lines.append(f"{one.run}: {one.command}: {'; '.join(why) or 'learned from none'}")
        lines += [f"    still names some: {path}" for path in one.files]
    return "\n".join(lines) + "\n"


def to_json(count: int, affected: Sequence[Affected]) -> str:
    """The same for programs."""
    return json.dumps({"patients": count, "affected": [one.as_json() for one in affected]}, indent=2) + "\n"
