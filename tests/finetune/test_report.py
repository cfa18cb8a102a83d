"""The report of an evaluation: every section of what results hold, in one file that loads nothing."""

import re

import pytest

from finetune.evaluation import Evaluator
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.report import report
from foundation.data.splits import split

SOURCE = {"source": "a run", "split": "test", "seed": 0}


@pytest.mark.parametrize(
    ("head", "pictures", "named"),
    [
        (None, 4, "auc"),
        (DiscreteHazards(32), 4, "c_index"),
        (MultiLabel(32, ["biomarker", "os_event"]), 6, "auc"),
    ],
    ids=["two classes", "survival", "two labels"],
)
def test_it_shows_groups_subsets_and_curves_and_loads_nothing(build, cohort, head, pictures, named):
    parts = split(cohort, ["lakeview", "summit"], 0.15, 0)
    evaluator = Evaluator(build(head), cohort, parts.train, parts.test, resamples=5)
    evaluator.run()
    html = report(evaluator.results(), evaluator.primary, ["<lead>"], "Seen by training.").render(SOURCE)
    for title in ("All figures", "By hospital and subgroup", "By what a patient has", "Calibration and use"):
        assert f"<h2>{title}" in html
    assert html.count("<img ") == html.count('src="data:image/svg+xml;base64,') == pictures
    assert not re.search(r"<script|https?://|src=\"(?!data:)", html)
    assert "<strong>Seen by training.</strong>" in html and "&lt;lead&gt;" in html
    assert f'<th scope="row">{named}</th>' in html


def test_a_figure_that_is_none_says_why(build, cohort):
    positive = cohort.patients.index[(cohort.patients["biomarker"] == 1) & cohort.patients["record"].astype(bool)]
    evaluator = Evaluator(build(), cohort, list(cohort.patients.index[:20]), list(positive[-4:]), resamples=5)
    evaluator.run()
    html = report(evaluator.results(), "auc", []).render(SOURCE)
    assert "not defined (4 patients, of 10 that it takes)" in html
    assert "By hospital and subgroup" not in html
