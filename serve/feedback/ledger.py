"""The ledger of feedback: what releases were held to, each look's sums, alarms and clearances, hash-chained.

Sums of looks stay when a patient is taken out of the rows: tests go on from them, for what was bet on cannot be taken
back, and nobody can be told from them who was not in a small look alone.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from foundation.chained_file import ChainedEntry, ChainedFile
from foundation.errors import UserError
from foundation.locks import in_turn
from foundation.statistics.betting import BettingTable
from serve.feedback.declared import Declared

FILE = "feedback.jsonl"
Looks = dict[str, dict[str, BettingTable]]  # by quarter in order, by test


class FeedbackLedger:
    """What stands for good.

    Args:
        folder: of the hospital's feedback.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = ChainedFile(folder / FILE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time."""
        with in_turn(self.folder / ".lock"):
            yield

    def declared(self) -> dict[str, Declared]:
        """By version, in the order of declaration.

        Raises:
            UserError: if the ledger was altered.
        """
        return {entry["version"]: _declared(entry) for entry in self._of("declared")}

    def declare(self, declared: Declared) -> bool:
        """Writes down what a release is held to; False where it stands there already.

        Raises:
            UserError: if it stands there otherwise: bounds are declared before outcomes are seen.
        """
        before = self.declared().get(declared.version)
        if before is not None and before != declared:
            raise UserError(
                f"{self.file.path}: {declared.version} was declared with other bounds; they hold until it is replaced"
            )
        if before is None:
            self.note("declared", declared.version, declared=declared.model_dump())
        return before is None

    def looks(self, version: str) -> Looks:
        """Sums of a release's looks, by quarter."""
        tests = self.of_version(version).tests()
        looks: Looks = {}
        for entry in self._of("looked", version):
            tables = read_tables(entry, entry.mapping("sums"), tests)
            before = looks.setdefault(entry["quarter"], {})
            looks[entry["quarter"]] = {
                name: table if name not in before else before[name] + table for name, table in tables.items()
            }
        return looks

    def shadow_looks(self, version: str) -> list[dict[str, BettingTable]]:
        """Sums of each look at answers in the shadow, by output."""
        declared = self.of_version(version)
        bounds = {name: declared.accuracy(name) for name in declared.outputs}
        looked = self._of("looked", version)
        return [read_tables(entry, entry.mapping("shadow"), bounds) for entry in looked if "shadow" in entry]

    def of_version(self, version: str) -> Declared:
        """What a release is held to.

        Raises:
            UserError: if nobody declared it.
        """
        declared = self.declared()
        if version not in declared:
            known = ", ".join(declared) or "none"
            raise UserError(f"{self.folder}: version {version} was not declared here; it knows {known}: declare it")
        return declared[version]

    def count_looks(self, version: str) -> int:
        """How often a release was looked at."""
        return len(self._of("looked", version))

    def last_quarter(self, version: str) -> str | None:
        """Of a release's looks."""
        return max((entry["quarter"] for entry in self._of("looked", version)), default=None)

    def alarms(self, version: str) -> dict[str, str]:
        """By test, the quarter of its alarm."""
        return {entry["test"]: entry["quarter"] for entry in self._of("alarm", version)}

    def is_cleared(self, version: str) -> bool:
        """Whether a release that was in the shadow may answer."""
        return bool(self._of("cleared", version))

    def note(self, event: str, version: str, **facts: Any) -> None:
        """Adds a line."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.file.add({"event": event, "version": version, "time": now, **facts})

    def _of(self, event: str, version: str | None = None) -> list[ChainedEntry]:
        entries = [entry for entry in self.file.entries() if entry["event"] == event]
        return [entry for entry in entries if version is None or entry["version"] == version]


def write_table(table: BettingTable) -> dict[str, Any]:
    """A look's sums of one test, as the ledger and a share have them."""
    growth = [float(value) for value in table.growth[0]]
    return {"n": int(table.counts[0, 0]), "sum": float(table.sums[0, 0]), "growth": growth}


def read_table(content: Mapping[str, Any], bound: float) -> BettingTable:
    """The way back.

    Raises:
        UserError: if they are of another release's stakes, or no sums.
    """
    try:
        arrays = {"counts": [[int(content["n"])]], "sums": [[float(content["sum"])]], "growth": [content["growth"]]}
        return BettingTable.empty(bound).filled({name: np.asarray(value) for name, value in arrays.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("feedback: sums of a look lack n, sum or growth; install one release everywhere") from error


def read_tables(
    entry: ChainedEntry, contents: Mapping[str, Any], bounds: Mapping[str, float]
) -> dict[str, BettingTable]:
    """Sums that a line of the ledger tells, by test.

    Args:
        entry: the line.
        contents: of it, by test.
        bounds: by test, of those that its release has.

    Raises:
        UserError: if it tells of another test, or of no sums.
    """
    for name in contents:
        if name not in bounds:
            raise entry.refuse(f"tells of a test '{name}', which {entry['version']} was not declared with")
    try:
        return {name: read_table(content, bounds[name]) for name, content in contents.items()}
    except UserError as error:
        raise entry.refuse(f"tells of sums that lack n, sum or growth ({', '.join(contents)})") from error


def _declared(entry: ChainedEntry) -> Declared:
    try:
        return Declared.model_validate(entry["declared"])
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise entry.refuse(f"holds bounds of another form ('declared.{field}')") from error
