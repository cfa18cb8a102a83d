"""Every page of the project has no violation of axe-core's rules, at desk's and phone's width, in light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

from finetune.page import Page, table_of
from foundation.data.cohort import Cohort
from foundation.data.description import describe
from foundation.data.sections import section
from foundation.federation.report.page import write_report
from foundation.statistics.figure import Figure
from serve.card.build import Inputs, build
from tests.browser import SCREENS, violations
from tests.browser import browser as browser
from tests.foundation.federation.report_runs import write_run
from tests.serve.card.chains import PRIVACY, chain, trial

pytestmark = pytest.mark.process
PAGES = ("card", "evaluation", "federation", "cohort")


def card(root: Path) -> str:
    run = chain(root, privacy=PRIVACY, kind="survival")
    analyses = (trial(root / "trial", root / "finetune"),)
    return build(Inputs((run,), "demo", "mit", analyses=analyses), root / "card").documents["card.html"]


def evaluation() -> str:
    """The page of evaluation, trial, stratification, biomarkers and search: wide tables of two heads, and a picture."""
    drawn = Drawing()
    drawn.subplots().plot([0, 1], [1, 0])
    columns = pd.MultiIndex.from_product([["a group of many patients", "others"], ["low", "middle", "high", "all"]])
    wide = pd.DataFrame(np.ones((3, 8)), index=["one", "two", "three"], columns=columns)
    figures = {"auc": Figure(0.8, 0.7, 0.9, 50, {}, "AUROC of a file-with-a-long-name" * 6)}
    sections = [section("By group", [wide, table_of(figures)], drawn, note="Hidden below five.")]
    source = {"source": "runs/" + "long/" * 40, "split": "test", "seed": 0}
    return Page("What it came to", ["It is so."], sections, figures, first="Seen by training.").render(source)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    write_run(root / "run")
    texts = {
        "card": card(root / "card"),
        "evaluation": evaluation(),
        "federation": write_report(root / "run").read_text(),
        "cohort": describe(Cohort(small_cohort), 0),
    }
    for name, text in texts.items():
        (root / f"{name}.html").write_text(text)
    return {name: root / f"{name}.html" for name in texts}


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    opened = browser.new_page()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("scheme", "size"), SCREENS)
def test_a_page_has_no_violation_and_is_no_wider_than_its_screen(
    tab: Any, pages: dict[str, Path], name: str, scheme: str, size: dict[str, int]
):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size(size)
    tab.goto(pages[name].as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert violations(tab) == []


def test_what_breaks_a_rule_is_named(tab: Any):
    tab.set_content("<html lang='en'><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert violations(tab) == ['image-alt (1): <img src="data:,">']
