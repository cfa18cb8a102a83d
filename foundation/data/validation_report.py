"""The report of a validation for a data manager: Markdown to read, JSON to work with, a summary on the console.

`validation.json`, format 1. Keys are added, never changed, as long as `format` stays:

| key | holds |
| --- | --- |
| `format` | 1 |
| `name`, `synthetic` | of the cohort, as declared |
| `declaration_digest` | SHA-256 of the declaration, whatever order its keys are in |
| `verdict` | `refused`, `usable with warnings` or `usable` |
| `counts` | hospital → `patients`, and each modality → patients who have it |
| `errors`, `warnings` | how many |
| `problems` | every one: `severity`, `file`, `row` or null, `field`, `value`, `found`, `advice` |
| `flow` | the patients' way into the cohort: `step`, `patients` that are left |
| `provenance` | what was done as declared: `file`, `field`, `rule`, `count` of cells, rows or files |

No report's text is written; the value of an identifier found in a text is never shown.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.data.problems import Problem
from foundation.data.storage import storages
from foundation.files import write_json, write_text

if TYPE_CHECKING:
    from foundation.data.validation import Validation

MARKDOWN, JSON = "validation.md", "validation.json"
LISTED = 20  # problems of one kind in one file; the rest are counted
_PRINTED = 15  # kinds of each severity on the console
_EXAMPLES = 3  # problems of one kind there
_SEVERITIES = (("error", "Errors"), ("warning", "Warnings"))


def write(validation: "Validation", output: Path) -> None:
    """Writes `validation.md` and `validation.json` into a folder, each whole or not at all."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / JSON, as_dict(validation))
    write_text(output / MARKDOWN, as_markdown(validation))


def as_dict(validation: "Validation") -> dict[str, Any]:
    """What `validation.json` holds."""
    declared = json.dumps(validation.declaration.model_dump(mode="json"), sort_keys=True)
    return {
        "format": 1,
        "name": validation.declaration.name,
        "synthetic": validation.declaration.synthetic,
        "declaration_digest": hashlib.sha256(declared.encode()).hexdigest(),
        "verdict": _verdict(validation)[0],
        "counts": validation.counts,
        "errors": len(validation.problems.errors),
        "warnings": len(validation.problems.warnings),
        "problems": [problem.as_dict() for problem in validation.problems.listed],
        "flow": validation.flow,
        "provenance": [
            {"file": step.file, "field": step.field, "rule": step.rule, "count": step.count}
            for step in validation.problems.steps
        ],
    }


def as_markdown(validation: "Validation") -> str:
    """What `validation.md` holds."""
    lines = [
        f"# Validation of {_cell(validation.declaration.name)}",
        "",
        _verdict(validation)[1],
        "",
        "## What was found",
        "",
    ]
    columns, rows = _counted(validation.counts)
    lines += [_row(columns), f"| --- |{' ---: |' * (len(columns) - 1)}", *map(_row, rows)]
    lines += ["", "## Patients", "", "| step | patients |", "| --- | ---: |"] if validation.flow else []
    lines += [_row([way["step"], str(way["patients"])]) for way in validation.flow]
    for severity, title in _SEVERITIES:
        listed = [problem for problem in validation.problems.listed if problem.severity == severity]
        if listed:
            lines += ["", f"## {title}"]
        for file, problems in _by_file(listed).items():
            lines += ["", f"### {_cell(file)}", "", "| row | field | value | what was found | what to do |"]
            lines += ["| ---: | --- | --- | --- | --- |"]
            for kind in _by_kind(problems):
                lines += [_row(_cells(problem)) for problem in kind[:LISTED]]
                if len(kind) > LISTED:
                    more = f"and {len(kind) - LISTED} more like this, all in {JSON}"
                    lines += [_row(["", kind[0].field, "", more, kind[0].advice])]
    if validation.problems.steps:
        lines += [
            "",
            "## What was done, as declared",
            "",
            "| file | field | rule | count |",
            "| --- | --- | --- | ---: |",
        ]
        lines += [_row([s.file, s.field, s.rule, str(s.count)]) for s in validation.problems.steps]
    return "\n".join(lines) + "\n"


def show(validation: "Validation", console: Console) -> None:
    """Prints counts, then errors, then warnings, the first of each in full."""
    shown = ("patients", *storages())
    columns, rows = _counted(
        {site: {key: n for key, n in each.items() if key in shown} for site, each in validation.counts.items()}
    )
    table = Table(
        title=escape(validation.declaration.name) + (" (synthetic)" if validation.declaration.synthetic else "")
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    for problems, colour in ((validation.problems.errors, "red"), (validation.problems.warnings, "yellow")):
        kinds = _by_kind(problems)
        for kind in kinds[:_PRINTED]:
            for problem in kind[:_EXAMPLES]:
                line = f"[{colour}]{problem.severity}[/]: {escape(str(problem))}"
                console.print(line, soft_wrap=True, highlight=False)
            if len(kind) > _EXAMPLES:
                console.print(f"    ... and {len(kind) - _EXAMPLES} more like this", highlight=False)
        if len(kinds) > _PRINTED:
            rest = sum(map(len, kinds[_PRINTED:]))
            what = f"{rest} more {problems[0].severity}s of {len(kinds) - _PRINTED} kinds"
            console.print(f"... and {what}, all in {MARKDOWN}", highlight=False)
    console.print(_verdict(validation)[1], soft_wrap=True, highlight=False)


def _verdict(validation: "Validation") -> tuple[str, str]:
    """As a word and as a sentence."""
    errors, warnings = (
        f"{count} {what}{'' if count == 1 else 's'}"
        for count, what in ((len(validation.problems.errors), "error"), (len(validation.problems.warnings), "warning"))
    )
    if validation.problems.errors:
        first = validation.problems.errors[0]
        start = f"Begin with {Path(first.file).name}: {first.advice}."
        text = f"The cohort cannot be used yet: {errors} must be mended; {warnings} should be looked at. {start}"
        return "refused", text
    if validation.problems.warnings:
        return "usable with warnings", f"The cohort can be used; {warnings} should be looked at first."
    return "usable", "The cohort can be used: nothing is wrong with it."


def _counted(counts: dict[str, dict[str, int]]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of counts, the sum last where there are several hospitals."""
    names = list(dict.fromkeys(name for row in counts.values() for name in row))
    rows = [[hospital, *(str(row.get(name, 0)) for name in names)] for hospital, row in counts.items()]
    if len(counts) > 1:
        rows.append(["all", *(str(sum(row.get(name, 0) for row in counts.values())) for name in names)])
    return ["hospital", *names], rows


def _by_file(problems: list[Problem]) -> dict[str, list[Problem]]:
    groups = defaultdict(list)
    for problem in problems:
        groups[problem.file].append(problem)
    return groups


def _by_kind(problems: list[Problem]) -> list[list[Problem]]:
    """Those of one field that are mended in one way stand together, at whatever hospital."""
    groups = defaultdict(list)
    for problem in problems:
        groups[Path(problem.file).name, problem.field, problem.advice].append(problem)
    return list(groups.values())


def _cells(problem: Problem) -> list[str]:
    row = "" if problem.row is None else str(problem.row)
    return [row, problem.field, problem.value, problem.finding, problem.advice]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """A hospital's own words, in which nothing is markup."""
    plain = " ".join(text.split())
    for character in "\\`*[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain
