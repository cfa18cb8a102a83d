"""A look at what has come: rows not counted yet enter the tests, alarms are raised, a shadow is cleared or not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from foundation.errors import UserError
from foundation.statistics.betting import BettingTable, alarms_at, anytime_p
from foundation.statistics.table import Floats
from serve.feedback.declared import Declared
from serve.feedback.figures import brier_interval
from serve.feedback.ledger import FeedbackLedger, Looks, write_table
from serve.feedback.store import Store


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
    ledger.note("looked", version, quarter=quarter, sums={name: write_table(table) for name, table in tables.items()})
    standing, known = tested(declared, ledger.looks(version)), ledger.alarms(version)
    for one in standing:
        if one.alarm is not None and one.test not in known:
            ledger.note("alarm", version, test=one.test, quarter=one.alarm, p=one.p)
    standing = [replace(one, alarm=known.get(one.test, one.alarm)) for one in standing]  # once raised, it stands
    in_shadow = judged[judged["shadow"] == 1]
    if len(in_shadow) and not ledger.is_cleared(version) and _is_earned(declared, standing, in_shadow, cleared_from):
        ledger.note("cleared", version, quarter=quarter, outcomes=len(in_shadow))
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


def _is_earned(declared: Declared, standing: list[Standing], judged: pd.DataFrame, least: int) -> bool:
    """Whether outcomes are enough, no alarm stands, and errors are shown to be within the bound."""
    if any(one.alarm is not None for one in standing):
        return False
    for output in declared.outputs:
        rows = judged[judged["output"] == output]
        if len(rows) < least or brier_interval(rows)[1] > declared.brier[output]:
            return False
    return True
