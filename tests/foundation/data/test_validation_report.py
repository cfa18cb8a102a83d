"""The report of a validation: counts and problems as they are, nothing of it markup, the same in all three forms."""

import io
import json

import pytest
from rich.console import Console

from foundation.data import validation_report
from foundation.data.declaration import Declaration
from foundation.data.problems import Problems
from foundation.data.validation import Validation
from tests.foundation.cohort_files import declared

COUNTS = {"north": {"patients": 3, "pathology": 2, "report": 0}, "south": {"patients": 4, "pathology": 1, "report": 4}}


def found(problems: Problems | None = None, **changes: object) -> Validation:
    declaration = Declaration.model_validate({**declared(), **changes})
    return Validation(declaration, [], problems or Problems(), COUNTS)


def some() -> Problems:
    problems = Problems()
    problems.error("north/patients.csv", "stands twice", "keep one row", field="patient_id", row=7, value="A|1 <b>")
    problems.warn("south/record.csv", "is constant", "check the export", field="age")
    return problems


def printed(validation: Validation) -> str:
    stream = io.StringIO()
    validation_report.show(validation, Console(file=stream, width=200))
    return stream.getvalue()


@pytest.mark.parametrize(
    "problems, verdict, sentence",
    [
        (Problems(), "usable", "The cohort can be used: nothing is wrong with it."),
        (
            some(),
            "refused",
            "The cohort cannot be used yet: 1 error must be mended; 1 warning should be looked at. "
            "Begin with patients.csv: keep one row.",
        ),
    ],
)
def test_all_forms_say_the_same_verdict(tmp_path, problems, verdict, sentence):
    validation_report.write(found(problems), tmp_path)
    assert json.loads((tmp_path / "validation.json").read_text())["verdict"] == verdict
    assert (tmp_path / "validation.md").read_text().splitlines()[:3] == ["# Validation of small", "", sentence]
    assert printed(found(problems)).splitlines()[-1] == sentence


def test_the_json_holds_exactly_what_its_description_says(tmp_path):
    validation_report.write(found(some()), tmp_path)
    content = json.loads((tmp_path / "validation.json").read_text())
    digest = content.pop("declaration_digest")
    assert len(digest) == 64
    assert content == {
        "format": 1,
        "name": "small",
        "synthetic": True,
        "verdict": "refused",
        "counts": COUNTS,
        "errors": 1,
        "warnings": 1,
        "problems": [
            {
                "severity": "error", "file": "north/patients.csv", "row": 7, "field": "patient_id",
                "value": "A|1 <b>", "found": "stands twice", "advice": "keep one row",
            },
            {
                "severity": "warning", "file": "south/record.csv", "row": None, "field": "age",
                "value": "", "found": "is constant", "advice": "check the export",
            },
        ],
        "flow": [],
        "provenance": [],
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["validation.json", "validation.md"]


def test_the_digest_follows_what_is_declared_not_its_order():
    one, other = (
        found(),
        found(dictionary={name: declared()["dictionary"][name] for name in sorted(declared()["dictionary"])}),
    )
    digest = validation_report.as_dict(one)["declaration_digest"]
    assert validation_report.as_dict(other)["declaration_digest"] == digest
    assert validation_report.as_dict(found(smallest_coverage=0.6))["declaration_digest"] != digest


def test_the_page_counts_by_hospital_and_groups_problems_by_file():
    lines = validation_report.as_markdown(found(some())).splitlines()
    start = lines.index("## What was found")
    assert lines[start + 2 : start + 7] == [
        "| hospital | patients | pathology | report |",
        "| --- | ---: | ---: | ---: |",
        "| north | 3 | 2 | 0 |",
        "| south | 4 | 1 | 4 |",
        "| all | 7 | 3 | 4 |",
    ]
    assert lines[lines.index("## Errors") + 2 : lines.index("## Warnings") - 1] == [
        "### north/patients.csv",
        "",
        "| row | field | value | what was found | what to do |",
        "| ---: | --- | --- | --- | --- |",
        "| 7 | patient_id | A\\|1 \\<b\\> | stands twice | keep one row |",
    ]
    assert lines[-1] == "|  | age |  | is constant | check the export |"


def test_long_lists_are_cut_on_the_page_and_the_console_but_not_in_the_json():
    problems = Problems()
    for row in range(332):
        problems.error("north/record.csv", f"patient {row} is no number", "write one", field="age", value=f"[red]{row}")
    problems.error("north/record.csv", "no such column", "add it", field="sex")
    page = validation_report.as_markdown(found(problems))
    assert page.count("is no number") == 20
    assert "|  | age |  | and 312 more like this, all in validation.json | write one |" in page
    assert "| no such column |" in page
    console = printed(found(problems))
    assert console.count("is no number ([red]") == 3
    assert "... and 329 more like this" in console
    assert "no such column; add it" in console
    assert len(validation_report.as_dict(found(problems))["problems"]) == 333


def test_the_console_shows_errors_before_warnings_and_nothing_is_markup():
    problems = Problems()
    problems.warn("b.csv", "look [bold]here[/bold]", "see")
    problems.error("a.csv", "broken", "mend it")
    text = printed(found(problems))
    assert text.index("error: a.csv: broken; mend it") < text.index("warning: b.csv: look [bold]here[/bold]; see")


def test_a_report_is_written_over_an_earlier_one_and_a_half_written_one_is_never_seen(tmp_path, monkeypatch):
    validation_report.write(found(), tmp_path)
    before = (tmp_path / "validation.md").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        validation_report.write(found(some()), tmp_path)
    assert (tmp_path / "validation.md").read_bytes() == before
