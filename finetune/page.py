"""A page of tables and pictures in one HTML file, and the same figures as `results.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from finetune.results import FORMAT
from foundation.data import description
from foundation.data.sections import Section
from foundation.files import write_json, write_text
from foundation.statistics.figure import Figure

_TEMPLATES = [Path(__file__).with_name("templates"), Path(description.__file__).with_name("templates")]
PAGE, RESULTS = "index.html", "results.json"


@dataclass
class Page:
    """What a command came to.

    Attributes:
        title: of it.
        lead: paragraphs before the sections; the first one sums the page up.
        sections: tables and pictures.
        figures: by identifier.
        first: what is said before anything else; empty where nothing must be.
        files: whole tables, written beside the page as CSV by name.
    """

    title: str
    lead: list[str]
    sections: list[Section] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    first: str = ""
    files: dict[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, output: Path, source: Mapping[str, Any]) -> None:
        """Writes both, and the tables.

        Args:
            output: the folder.
            source: what stands beside each figure: `source`, `split`, `seed`.
        """
        rows = [{"id": name, **asdict(figure), **source} for name, figure in self.figures.items()]
        notice = {"seen": self.first} if self.first else {}
        write_json(
            output / RESULTS, {"format": FORMAT, **notice, "title": self.title, "figures": rows}, sort_keys=False
        )
        write_text(output / PAGE, self.render(source))
        for name, table in self.files.items():
            write_text(output / f"{name}.csv", table.to_csv(index=False))

    def render(self, source: Mapping[str, Any]) -> str:
        """The page alone; see `write`."""
        page = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True)
        return page.get_template("page.html.jinja").render(page=self, source=source)

    def metrics(self) -> dict[str, float | None]:
        """Values by identifier, for the run record."""
        return {name: figure.value for name, figure in self.figures.items()}


def table_of(figures: Mapping[str, Figure]) -> pd.DataFrame:
    """Figures as a table, a row each by its estimator."""
    rows = {figure.estimator: [words(figure)] for figure in figures.values()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value"])


def words(figure: Figure, digits: int = 3) -> str:
    """A figure with its interval, or why there is none."""
    if figure.value is None:
        return f"not defined ({figure.reason})"
    value = f"{figure.value:.{digits}f}"
    if figure.low is None or figure.high is None:
        return value if figure.reason is None else f"{value}, without interval ({figure.reason})"
    return f"{value} ({figure.low:.{digits}f} – {figure.high:.{digits}f})"
