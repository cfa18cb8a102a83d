"""A look at what has come: rows not counted yet enter the tests, alarms are raised, a shadow is cleared or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from foundation.errors import UserError
from foundation.statistics.betting import BettingTable, alarms_at, anytime_p
from foundation.statistics.table import Floats
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger, Looks, write_table
from serve.feedback.store import Store

_CLEARANCE_LEVEL = 0.025  # chance at most that a release beyond a bound is ever cleared, however often one looks


@dataclass(frozen=True)
class Standing:
    """How one test stands after all looks.

    Attributes:
        test: its name.
        bound: that the mean is held to.
        patients: counted.
        mean: of the quantity; None of nobody.
        p: that holds at every look.
        alarm: quarter of the look at which it was raised; None where it was not.
    """

    test: str
    bound: float
    patients: int
    mean: float | None
    p: float
    alarm: str | None


def look(store: Store, ledger: FeedbackLedger, version: str, quarter: str, cleared_from: int) -> list[Standing]:
    """Counts what is new, writes sums, alarms and a clearance into the ledger, and tells how all tests stand.

    Args:
        store: of the hospital.
        ledger: of it.
        version: of the release.
        quarter: of the look.
        cleared_from: outcomes of each output that a release in the shadow needs to be cleared.

    Raises:
        UserError: if a later quarter was looked at already.
    """
    declared = ledger.of_version(version)
    last = ledger.last_quarter(version)
    if last is not None and quarter < last:
        raise UserError(f"quarter: {quarter} is before {last}, which was looked at already; looks go forward")
    judged, asked = store.judged(version), store.asked(version)
    past = ledger.count_looks(version)
    # Of a later look than stand in the ledger are rows whose look was cut short.
    new_judged, new_asked = (rows[(rows["look"] == 0) | (rows["look"] > past)] for rows in (judged, asked))
    tables = tables_of(declared, new_judged, new_asked)
    store.count(version, past + 1, new_judged, new_asked)
    shadow = shadow_tables(declared, new_judged)
    sums, shadow_sums = ({name: write_table(one) for name, one in each.items()} for each in (tables, shadow))
    ledger.note("looked", version, quarter=quarter, sums=sums, shadow=shadow_sums)
    standing, known = tested(declared, ledger.looks(version)), ledger.alarms(version)
    for one in standing:
        if one.alarm is not None and one.test not in known:
            ledger.note("alarm", version, test=one.test, quarter=one.alarm, p=one.p)
    standing = [replace(one, alarm=known.get(one.test, one.alarm)) for one in standing]  # once raised, it stands
    shadow_looks = ledger.shadow_looks(version)
    if not ledger.is_cleared(version) and is_earned(declared, standing, shadow_looks, cleared_from):
        outcomes = sum(int(one.counts[0, 0]) for tables in shadow_looks for one in tables.values())
        ledger.note("cleared", version, quarter=quarter, outcomes=outcomes)
    return standing


def tables_of(declared: Declared, judged: pd.DataFrame, asked: pd.DataFrame) -> dict[str, BettingTable]:
    """Sums of one look, by test."""
    values: dict[str, Floats] = {}
    for output in declared.outputs:
        rows = judged[judged["output"] == output]
        gap = rows["value"].to_numpy(float) - rows["chance"].to_numpy(float)
        values[f"squared error/{output}"] = gap**2
        values[f"outcomes above chances/{output}"] = (1 + gap) / 2
        values[f"outcomes below chances/{output}"] = (1 - gap) / 2
    if declared.abstained is not None:
        values["abstained"] = asked["abstained"].to_numpy(float)
    for name in declared.flagged:
        flags = [flag[name] for flag in asked["flags"] if name in flag]
        values[f"out of distribution/{name}"] = np.array(flags, dtype=np.float64)
    return {name: BettingTable.from_patients(values[name], bound) for name, bound in declared.tests().items()}


def shadow_tables(declared: Declared, judged: pd.DataFrame) -> dict[str, BettingTable]:
    """Sums of one look at answers in the shadow, by output: a bet that squared errors are below their bound.

    Of a bound of 1, which no squared error exceeds, the bet is on nothing and only its patients count.
    """
    tables = {}
    for output in declared.outputs:
        rows = judged[(judged["output"] == output) & (judged["shadow"] == 1)]
        errors = (rows["value"].to_numpy(float) - rows["chance"].to_numpy(float)) ** 2
        tables[output] = BettingTable.from_patients(1 - errors, declared.accuracy(output))
    return tables


def tested(declared: Declared, looks: Looks) -> list[Standing]:
    """Every test after looks, of one hospital or pooled."""
    return [_tested(name, bound, looks, declared.level_of_each) for name, bound in declared.tests().items()]


def _tested(name: str, bound: float, looks: Mapping[str, Mapping[str, BettingTable]], level: float) -> Standing:
    quarters = list(looks)
    tables = [looks[quarter].get(name, BettingTable.empty(bound)) for quarter in quarters]
    at = alarms_at(tables, level)
    count, total = (sum(float(getattr(one, part)[0, 0]) for one in tables) for part in ("counts", "sums"))
    mean = total / count if count else None
    return Standing(name, bound, int(count), mean, anytime_p(tables), None if at is None else quarters[at])


def is_earned(
    declared: Declared, standing: Sequence[Standing], looks: Sequence[Mapping[str, BettingTable]], least: int
) -> bool:
    """Whether outcomes are enough, no alarm stands, and errors of each output are shown to be within their bound.

    All outputs have to pass, so each has the whole level (Berger 1982, intersection-union).

    Args:
        declared: what the release is held to.
        standing: of its tests.
        looks: in order, sums of `shadow_tables`.
        least: outcomes of each output.
    """
    if any(one.alarm is not None for one in standing):
        return False
    for output in declared.outputs:
        tables = [look[output] for look in looks if output in look]
        if not tables or sum(int(one.counts[0, 0]) for one in tables) < least:
            return False
        if declared.brier[output] < 1 and anytime_p(tables) > _CLEARANCE_LEVEL:
            return False
    return True
