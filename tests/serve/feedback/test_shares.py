"""Sums that leave a hospital: under its policy, without small cells, and equal to one place's when added."""

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.policy import SitePolicy
from foundation.statistics.betting import BettingTable, alarms_at
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.looks import look
from serve.feedback.shares import _told, pool, share
from serve.feedback.store import Answer, Store
from tests.serve.feedback import releases
from tests.serve.feedback.releases import VERSION

OPEN = SitePolicy.model_validate({"patients": {"cell": 5}})


def hospital(folder: Path, declared: Declared, name: str, counts: dict[str, int], shift: float = 0.3) -> FeedbackLedger:
    """A hospital that looked once a quarter; who was asked hangs on its name and the quarter."""
    store, ledger = Store(folder), FeedbackLedger(folder)
    ledger.declare(declared)
    for place, (quarter, count) in enumerate(counts.items()):
        chance, label = releases.drawn(count, [*name.encode(), place], shift)  # type: ignore[arg-type]
        patients = [f"{name}-{quarter}-{number}" for number in range(count)]
        flags = [{"report": number < count // 2} for number in range(count)]
        answers = [
            Answer(p, VERSION, {"positive": c}, f, False) for p, c, f in zip(patients, chance, flags, strict=True)
        ]
        store.keep(answers, quarter, False)
        store.add_outcomes([(p, "positive", int(y)) for p, y in zip(patients, label, strict=True)], quarter)
        look(store, ledger, VERSION, quarter, 50)
    return ledger


def test_added_sums_are_the_tests_of_all_patients_in_one_place(declared: Declared, tmp_path: Path) -> None:
    paths = []
    for name, counts in {"north": {"2027-Q1": 30, "2027-Q2": 40}, "south": {"2027-Q1": 20, "2027-Q2": 25}}.items():
        ledger = hospital(tmp_path / name, declared, name, counts)
        paths.append(tmp_path / f"{name}.json")
        share(ledger, VERSION, SitePolicy(), name, paths[-1])
    together, rows = FeedbackLedger(tmp_path / "all"), Store(tmp_path / "all")
    together.declare(declared)
    for quarter in ("2027-Q1", "2027-Q2"):
        for name in ("north", "south"):
            asked, judged = (getattr(Store(tmp_path / name), part)(VERSION) for part in ("asked", "judged"))
            asked, judged = asked[asked["quarter"] == quarter], judged[judged["quarter"] == quarter]
            chance = judged.set_index("patient")["chance"]
            rows.keep(
                [
                    Answer(row.patient, VERSION, {"positive": chance[row.patient]}, row.flags, False)
                    for row in asked.itertuples()
                ],
                quarter,
                False,
            )
            rows.add_outcomes([(row.patient, "positive", row.value) for row in judged.itertuples()], quarter)
        expected = look(rows, together, VERSION, quarter, 50)
    held_to, pooled, withheld = pool(paths)
    assert held_to == declared and not withheld
    assert [one.patients for one in pooled] == [one.patients for one in expected] == [115] * 5
    assert [one.p for one in pooled] == pytest.approx([one.p for one in expected])
    assert [one.alarm for one in pooled] == [one.alarm for one in expected]


def test_small_cells_stay_and_so_do_those_that_a_second_share_would_tell(declared: Declared, tmp_path: Path) -> None:
    ledger = hospital(tmp_path / "own", declared, "own", {"2027-Q1": 4, "2027-Q2": 40})
    first = share(ledger, VERSION, OPEN, "own", tmp_path / "a.json")
    assert "2027-Q1" not in first.looks and len(first.withheld) == 5
    assert first.looks["2027-Q2"]["squared error/positive"]["n"] == 40
    store = Store(tmp_path / "own")
    store.keep([Answer("one more", VERSION, {"positive": 0.5}, {}, False)], "2027-Q2", False)
    store.add_outcomes([("one more", "positive", 1)], "2027-Q2")
    look(store, ledger, VERSION, "2027-Q2", 50)
    second = share(ledger, VERSION, OPEN, "own", tmp_path / "b.json")
    assert "2027-Q2: squared error/positive (as it was shared before)" in second.withheld
    repeated = ("squared error/positive", "outcomes above chances/positive", "outcomes below chances/positive")
    assert [second.looks["2027-Q2"][name] for name in repeated] == [first.looks["2027-Q2"][name] for name in repeated]
    assert pool([tmp_path / "b.json"])[1] == pool([tmp_path / "a.json"])[1], "what was won is not lost"
    assert "out of distribution/report" in second.looks["2027-Q2"], "of which nothing was added"
    notes = [entry for entry in ledger.file.entries() if entry["event"] == "shared"]
    assert len(notes) == 2 and notes[0]["policy"] == OPEN.digest
    tighter = SitePolicy.model_validate({"patients": {"cell": 50}})
    assert not share(ledger, VERSION, tighter, "own", tmp_path / "c.json").looks


def test_what_is_withheld_hangs_on_no_outcome_so_pooled_alarms_hold_their_rate(declared: Declared) -> None:
    """Ten hospitals of fifty patients a quarter, a tenth of whom abstain, as the bound allows, for twenty quarters."""
    rng, bound, streams, alarms = np.random.default_rng(0), 0.1, 40, 0
    for _ in range(streams):
        looks = []
        for _ in range(20):
            pooled = BettingTable.empty(bound)
            for values in (rng.random((10, 50)) < bound).astype(float):
                whole = BettingTable.from_patients(values, bound)
                told = _told("abstained", whole, (0, 0), 10)
                assert told is not None and not 0 < told.sums[0, 0] < 10 and (told.growth <= whole.growth).all()
                pooled = pooled + told
            looks.append(pooled)
        alarms += alarms_at(looks, 0.05) is not None
    assert alarms / streams <= 0.05


@pytest.mark.parametrize(
    ("values", "before", "ones"),
    [
        ([1] * 4 + [0] * 20, (0, 0), 0),
        ([1] * 22 + [0] * 2, (0, 0), 19),
        ([1] * 6 + [0] * 20, (0, 0), 6),
        ([1] * 7 + [0] * 20, (14, 5), 5),  # two more would be told of
        ([1] * 13 + [0] * 20, (14, 5), 13),
        ([1] * 7 + [0] * 20, (27, 5), 5),  # as it was
        ([0] * 24, (0, 0), 0),
    ],
)
def test_small_cells_are_told_lower_and_so_are_those_since_an_earlier_share(
    values: list[int], before: tuple[int, int], ones: int
) -> None:
    told = _told("out of distribution/report", BettingTable.from_patients(values, 0.2), before, 5)
    assert told is not None and (told.counts[0, 0], told.sums[0, 0]) == (len(values), ones)


def test_a_policy_that_does_not_name_feedback_lets_nothing_go(declared: Declared, tmp_path: Path) -> None:
    ledger = hospital(tmp_path / "own", declared, "own", {"2027-Q1": 30})
    policy = SitePolicy.model_validate({"statistics": ["counts"]})
    with pytest.raises(UserError, match="policy: statistics: 'feedback' is not allowed here"):
        share(ledger, VERSION, policy, "own", tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def test_shares_of_one_hospital_or_of_other_bounds_are_refused(declared: Declared, tmp_path: Path) -> None:
    ledger = hospital(tmp_path / "own", declared, "own", {"2027-Q1": 30})
    other = hospital(tmp_path / "b", declared.model_copy(update={"level": 0.01}), "b", {"2027-Q1": 30})
    one, two = tmp_path / "a.json", tmp_path / "b.json"
    share(ledger, VERSION, SitePolicy(), "own", one)
    share(other, VERSION, SitePolicy(), "b", two)
    with pytest.raises(UserError, match="is held to other bounds than"):
        pool([one, two])
    with pytest.raises(UserError, match="shares: own stands there twice"):
        pool([one, one])
    with pytest.raises(UserError, match="none given"):
        pool([])
    two.write_text("{}")
    with pytest.raises(UserError, match="is no share of this release"):
        pool([one, two])
