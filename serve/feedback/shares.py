"""Sums of looks that a hospital lets go under its policy, and what several hospitals' come to together."""

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from foundation.errors import UserError
from foundation.federation.policy import SitePolicy
from foundation.files import write_json
from foundation.statistics.betting import BettingTable
from foundation.statistics.suppression import is_small
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger, Looks, read_table, read_tables, write_table
from serve.feedback.looks import Standing, tested

STATISTIC = "feedback"  # as policies name it
_COUNTED = ("abstained", "out of distribution")  # tests whose sums count patients


class Share(BaseModel):
    """What leaves a hospital.

    Attributes:
        hospital: whose.
        declared: what the release is held to.
        looks: by quarter and test, patients, sum and growth; see `BettingTable`.
        withheld: tests by quarter of which too few patients stand behind, or whose count is told as a lower one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hospital: str
    declared: Declared
    looks: dict[str, dict[str, dict[str, Any]]]
    withheld: list[str]


def share(ledger: FeedbackLedger, version: str, policy: SitePolicy, hospital: str, path: Path) -> Share:
    """Writes what the policy lets go, and notes in the ledger that it did.

    A quarter that was shared is shared again as it was, or with so many more patients that the difference is no small
    cell either: were it left out, what it had won would be lost to the pooled tests, and an alarm could vanish. Whether
    a test is withheld hangs on how many patients there are, never on what became of them: sums that go when they are
    high and stay when they are low would raise alarms where every bound holds. Where those who abstained, or were out
    of distribution, are too few to be told, fewer are, which can but lower a fortune.

    Raises:
        UserError: if the policy's statistics do not name feedback.
    """
    if policy.statistics is not None and not any(fnmatchcase(STATISTIC, name) for name in policy.statistics):
        raise UserError(f"policy: statistics: '{STATISTIC}' is not allowed here; its owner may add it to the list")
    earlier = _shared(ledger, version)
    looks: dict[str, dict[str, dict[str, Any]]] = {}
    withheld = []
    for quarter, tables in ledger.looks(version).items():
        for name, table in tables.items():
            before = earlier.get((quarter, name), BettingTable.empty(table.bound))
            shared = int(before.counts[0, 0]), round(float(before.sums[0, 0]))
            told = _told(name, table, shared, policy.patients.cell)
            remark = "" if told is None else " (told lower)"
            if told is None and _may_repeat(name, before, policy.patients.cell):
                told, remark = before, " (as it was shared before)"
            if told is None or told.sums[0, 0] != table.sums[0, 0] or told is before:
                withheld.append(f"{quarter}: {name}{remark}")
            if told is not None:
                looks.setdefault(quarter, {})[name] = write_table(told)
    content = Share(hospital=hospital, declared=ledger.of_version(version), looks=looks, withheld=withheld)
    text = content.model_dump()
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()
    ledger.note("shared", version, policy=policy.digest, digest=digest, looks=looks)
    write_json(path, text)
    return content


def pool(paths: Sequence[Path]) -> tuple[Declared, list[Standing], list[str]]:
    """Tests of all hospitals' patients together: what they are held to, how they stand, and what was withheld.

    Raises:
        UserError: if there is none, two are of one hospital, or they are of different releases or bounds.
    """
    shares = [_read(path) for path in paths]
    if not shares:
        raise UserError("shares: none given; say shares=[FILE,...] with what hospitals shared")
    first = shares[0]
    for path, one in zip(paths, shares, strict=True):
        if one.declared != first.declared:
            raise UserError(f"{path}: is held to other bounds than {paths[0]}; hospitals declare one release alike")
    names = [one.hospital for one in shares]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"shares: {min(twice)} stands there twice; give the latest of each hospital")
    tests = first.declared.tests()
    looks: Looks = {}
    for quarter in sorted({quarter for one in shares for quarter in one.looks}):
        tables = looks.setdefault(quarter, {})
        for one in shares:
            for name, content in one.looks.get(quarter, {}).items():
                if name not in tests:
                    raise UserError(f"shares: {one.hospital} tells of a test that the release has not; share it again")
                table = read_table(content, tests[name])
                tables[name] = tables[name] + table if name in tables else table
    return (
        first.declared,
        tested(first.declared, looks),
        [f"{one.hospital}: {x}" for one in shares for x in one.withheld],
    )


def _told(name: str, table: BettingTable, before: tuple[int, int], least: int) -> BettingTable | None:
    """A table as it may go: itself, one of as many patients of whom fewer count, or None if its patients are too few.

    Args:
        name: of the test.
        table: of a quarter.
        before: patients of the latest share of it, and of how many the quantity was told to be 1; none were if 0.
        least: patients of a count that may be told.
    """
    count, total = int(table.counts[0, 0]), round(float(table.sums[0, 0]))
    more = count - before[0]
    if is_small(count, least) or is_small(abs(more), least):
        return None
    if not name.startswith(_COUNTED):
        return table

    def may_go(ones: int) -> bool:
        added = ones - before[1]
        cells = (ones, count - ones, added, more - added)
        return 0 <= added <= more and not any(is_small(cell, least) for cell in cells)

    ones = max((ones for ones in range(total + 1) if may_go(ones)), default=0)
    values = np.repeat([1.0, 0.0], [ones, count - ones])
    return table if ones == total else BettingTable.from_patients(values, table.bound)


def _may_repeat(name: str, before: BettingTable, least: int) -> bool:
    """Whether what was shared may go once more, by the policy as it is now."""
    count, ones = int(before.counts[0, 0]), round(float(before.sums[0, 0]))
    cells = (count, ones, count - ones) if name.startswith(_COUNTED) else (count,)
    return count > 0 and not any(is_small(cell, least) for cell in cells)


def _shared(ledger: FeedbackLedger, version: str) -> dict[tuple[str, str], BettingTable]:
    """By quarter and test, what the latest share that held it told."""
    tests = ledger.of_version(version).tests()
    tables: dict[tuple[str, str], BettingTable] = {}
    for entry in ledger.file.entries():
        if entry["event"] == "shared" and entry["version"] == version:
            for quarter, each in entry.mapping("looks").items():
                if not isinstance(each, dict):
                    raise entry.refuse(f"holds {each!r:.60} as 'looks.{quarter}', not an object")
                tables |= {(quarter, name): table for name, table in read_tables(entry, each, tests).items()}
    return tables


def _read(path: Path) -> Share:
    try:
        return Share.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"shares: {path}: missing; give what a hospital shared") from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"shares: {path}: is no share of this release; let the hospital share it again") from error
