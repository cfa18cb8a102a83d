"""Whose patients a page rests on: small cells, and what would give them away, are not told."""

import re

import numpy as np

from finetune.biomarkers.base import who
from finetune.biomarkers.outcome import Outcome


def cells(counts: dict[str, int], seen: dict[str, int] | None) -> list[list[str]]:
    """The table's rows, of hospitals with so many patients, of whom so many had the event."""
    hospitals = np.repeat(list(counts), list(counts.values()))
    groups = {"patients": np.ones(len(hospitals), dtype=bool)}
    if seen is not None:
        event = np.concatenate([np.arange(counts[name]) < seen[name] for name in counts])
        groups = {"events": event, "censored": ~event}
    outcome = Outcome([str(row) for row in range(len(hospitals))], hospitals, np.zeros(len(hospitals)), groups, "x")
    table = who(outcome, 5, "")["tables"][0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], flags=re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows]


def test_counts_that_are_large_enough_are_told():
    assert cells({"a": 9, "b": 12}, None) == [["9"], ["12"], ["21"]]
    assert cells({"a": 12, "b": 20}, {"a": 6, "b": 8}) == [["6", "6", "12"], ["8", "12", "20"], ["14", "18", "32"]]


def test_one_small_hospital_takes_the_next_one_with_it_and_no_more():
    assert cells({"a": 3, "b": 12, "c": 30}, None) == [["hidden"], ["hidden"], ["30"], ["45"]]


def test_a_small_cell_does_not_follow_from_its_row_or_its_column():
    table = cells({"a": 20, "b": 30, "c": 40}, {"a": 2, "b": 15, "c": 20})
    events = [row[0] for row in table[:3]]
    assert events[0] == "hidden" and events.count("hidden") >= 2
    assert table[0][1] == "hidden" or table[0][2] == "hidden"
    assert table[3] == ["37", "53", "90"]


def test_a_page_of_patients_whom_an_ancestor_saw_never_calls_them_unseen():
    outcome = Outcome(["a"] * 6, np.repeat("x", 6), np.zeros(6), {"patients": np.ones(6, dtype=bool)}, "x")
    assert "None of them has been seen" in who(outcome, 5, "")["note"]
    note = who(outcome, 5, "Seen in training, not held out: encoder trained on 6 of 6 test patients.")["note"]
    assert note.startswith("Seen in training") and "None of them" not in note
