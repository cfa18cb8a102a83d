"""A hospital's own lists of federated runs: whom each learned from, beside its ledger and in no run's folder."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from foundation.lineage import SITE_LISTS, site_list
from foundation.patient_list import PatientList

_ADVICE = "restore it: without it nobody can tell whom the run learned from"


@dataclass(frozen=True)
class FederatedLists:
    """Of one hospital.

    Attributes:
        folder: that holds them, a file a run, named by a digest of the run's name.
        lists: whom a run learned from or chose weights on, by file.
        names: of runs that the hospital's ledger knows, by file.
    """

    folder: Path
    lists: Mapping[Path, PatientList]
    names: Mapping[Path, str]

    def of(self, runs: Iterable[str]) -> frozenset[str]:
        """Digests of the hospital's patients whom any of some runs learned from."""
        files = {site_list(self.folder.parent, name) for name in runs}
        return frozenset[str]().union(*(self.lists[path].digests for path in files & self.lists.keys()))

    def elsewhere(self, runs: Iterable[str], gone: Iterable[str]) -> list[str]:
        """Of the lists in which one of those digests stands, the runs that are none of some others."""
        here, left = {site_list(self.folder.parent, name) for name in runs}, set(gone)
        foreign = [path for path, one in self.lists.items() if path not in here and not left.isdisjoint(one.digests)]
        return [self.names.get(path, path.stem) for path in foreign]


def lists_apart(roots: Sequence[Path], runs: Iterable[Path], present: Iterable[str]) -> Iterator[FederatedLists]:
    """Lists of hospitals that lie in no run, of this cohort if they hold one of its patients.

    Where they hold none, nobody can tell whether all have left or the hospital is another's.

    Args:
        roots: folders in which they are looked for.
        runs: folders of runs, in which lists are the run's own.
        present: patients of the cohort as it is now.

    Raises:
        UserError: if a list or a ledger beside cannot be read.
    """
    within, here = set(runs), set(present)
    for folder in (folder.resolve() for root in roots for folder in sorted(root.rglob(SITE_LISTS))):
        if not folder.is_dir() or not within.isdisjoint(folder.parents):
            continue
        lists = {}
        for path in sorted(folder.glob("*.json")):
            lists[path] = PatientList.read(path, _ADVICE)
        if not here.isdisjoint(frozenset[str]().union(*(one.patients for one in lists.values()))):
            names = {site_list(folder.parent, name): name for name in _known_runs(folder.parent)}
            yield FederatedLists(folder, lists, names)


def _known_runs(home: Path) -> set[str]:
    """Names of runs in a hospital's ledger, and in those it was continued from."""
    names = set()
    for ledger in sorted(home.glob("*.jsonl")):
        for number, line in enumerate(ledger.read_text().splitlines(), 1):
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{ledger}: line {number}: is no JSON; see python -m foundation.federation.ledger"
                ) from error
            names |= {str(entry["run"])} if isinstance(entry, dict) and entry.get("run") else set()
    return names
