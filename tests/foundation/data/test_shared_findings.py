"""One finding of several hospitals is one line."""

from pathlib import Path

from rich.console import Console

from foundation.data import validation_report
from foundation.data.declaration import declare
from foundation.data.validation import validate

SURVIVAL = {"event": "os_event", "time": "os_days"}
COLUMNS = {"os_event": "os_event", "os_days": "months"}


def declared(hospitals: object, columns: dict[str, str]) -> dict:
    sources = {"patients": {"file": "patients.csv", "columns": columns}}
    dictionary = {"survival": SURVIVAL}
    facts = {"name": "x", "synthetic": True, "description": "x"}
    return {**facts, "hospitals": hospitals, "sources": sources, "dictionary": dictionary}


def rows(names: str) -> str:
    return "patient_id,clinic,os_event,months\n" + "".join(
        f"{name}{number},{name},0,{number}\n" for name in names for number in range(1, 4)
    )


def test_hospitals_of_one_table_share_a_line(tmp_path: Path):
    (tmp_path / "patients.csv").write_text(rows("abcdef"))
    content = declared({"column": "clinic"}, {"clinic": "clinic", **COLUMNS})
    listed = validate(tmp_path, declare(content, tmp_path), progress=False).problems.warnings
    by_field = {problem.field: problem.finding for problem in listed if problem.field in ("os_event", "months")}
    assert by_field == {
        "os_event": "at 6 hospitals (a, b, c, d, ...), no patient has the event",
        "months": "'months' is read as days, and is named after months",
    }
    assert len([problem for problem in listed if problem.field in by_field]) == 2


def test_two_hospitals_are_both_named(tmp_path: Path):
    (tmp_path / "patients.csv").write_text(rows("ab"))
    content = declared({"column": "clinic"}, {"clinic": "clinic", **COLUMNS})
    (event,) = [
        problem
        for problem in validate(tmp_path, declare(content, tmp_path), progress=False).problems.warnings
        if problem.field == "os_event"
    ]
    assert event.finding == "at a and b, no patient has the event"


def test_what_is_mended_alike_at_hospitals_with_folders_of_their_own_is_printed_together(tmp_path: Path, capsys):
    for name in "abcdef":
        (tmp_path / name).mkdir()
        (tmp_path / name / "patients.csv").write_text(rows(name))
    validation = validate(tmp_path, declare(declared(list("abcdef"), COLUMNS), tmp_path), progress=False)
    validation_report.show(validation, Console(width=200))
    lines = capsys.readouterr().out.splitlines()
    assert sum("named after months" in line for line in lines) == 3
    assert sum("no patient has the event" in line for line in lines) == 3
    assert sum(line.strip() == "... and 3 more like this" for line in lines) == 3  # also: nobody has a modality
