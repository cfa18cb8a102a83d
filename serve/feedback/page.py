"""Feedback as a page of Markdown, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from foundation.statistics.figure import Figure
from serve.feedback.declared import Declared
from serve.feedback.figures import Row
from serve.feedback.looks import Standing


def as_markdown(declared: Declared, rows: Sequence[Row], standing: Sequence[Standing], cleared: bool | None) -> str:
    """Alarms first, then figures by quarter, then how each test stands.

    Args:
        declared: what the release is held to.
        rows: by quarter; none where hospitals were added, whose rows stay there.
        standing: of the tests.
        cleared: of a release in the shadow; None of one that was never there.
    """
    alarms = [one for one in standing if one.alarm is not None]
    lines = [f"# Feedback on {declared.name} {declared.version}", ""]
    lines += [f"**Alarm since {one.alarm}: {_words(one.test)}.**" for one in alarms] or ["No alarm."]
    if cleared is not None:
        words = "cleared: it may answer" if cleared else "not cleared yet: it answers nobody"
        lines += ["", f"In the shadow, {words}."]
    if rows:
        names = list(rows[0].figures)
        lines += ["", f"| answered in | output | answers | outcomes | {' | '.join(names)} |"]
        lines += ["| --- " * (4 + len(names)) + "|", *(_row(row) for row in rows)]
    lines += ["", "| test | mean | bound | patients | p at every look | |", "| --- " * 6 + "|"]
    lines += [
        f"| {_words(one.test)} | {'-' if one.mean is None else f'{one.mean:.3f}'} | {one.bound:.3f} | {one.patients} | "
        f"{one.p:.2g} | {'' if one.alarm is None else f'alarm since {one.alarm}'} |"
        for one in standing
    ]
    level = f"{declared.level:g}"
    lines += ["", f"Where all bounds hold, any alarm at all is ever raised with chance {level} at most, however often"]
    lines += ["one looks. Of outcomes above and below chances, the mean is that of (1 + difference) / 2."]
    return "\n".join(lines) + "\n"


def as_json(
    declared: Declared, rows: Sequence[Row], standing: Sequence[Standing], cleared: bool | None
) -> dict[str, Any]:
    """The same for programs."""
    figures = [asdict(row) for row in rows]
    tests = [asdict(one) for one in standing]
    return {"declared": declared.model_dump(), "figures": figures, "tests": tests, "cleared": cleared}


def _row(row: Row) -> str:
    known = next(iter(row.figures.values())).n
    cells = [_figure(figure) for figure in row.figures.values()]
    return f"| {row.quarter} | {row.output} | {row.answered} | {known} | {' | '.join(cells)} |"


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return f"not defined ({figure.reason})"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f} (no interval)"
    return f"{figure.value:.3f} ({figure.low:.3f} – {figure.high:.3f})"


def _words(test: str) -> str:
    what, _, of = test.partition("/")
    return f"{what}, {of}" if of else what
