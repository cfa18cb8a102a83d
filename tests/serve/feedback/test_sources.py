"""Lines of answers and rows of outcomes that lack a field, or hold what is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.feedback.declared import Declared
from serve.feedback.sources import answers_of, outcomes_of
from tests.serve.feedback import releases
from tests.serve.feedback.releases import VERSION


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"prediction": ...}, "prediction: Field required"),
        ({"reliability": ...}, "reliability: Field required"),
        ({"modalities_used": ...}, "modalities_used: Field required"),
        ({"prediction": 3}, "prediction: Input should be"),
        ({"prediction": {"probabilities": {"positive": "much"}}}, "prediction.probabilities.positive: Input should be"),
        ({"prediction": {"probabilities": {"positive": 1.5}}}, "prediction.probabilities.positive: Input should be"),
        ({"prediction": {"probabilities": {}}}, f"one of {VERSION} lacks positive; declare it again"),
        ({"reliability": {"out_of_distribution": {"report": "far"}}}, "reliability.out_of_distribution.report: Input"),
    ],
)
def test_an_answer_that_cannot_be_kept_is_named_by_file_line_and_field(
    change: dict[str, Any], line: str, declared: Declared, tmp_path: Path
) -> None:
    path = releases.answers(tmp_path / "answers.jsonl", ["anna"], [0.5])
    first, second = map(json.loads, path.read_text().splitlines())
    content = {name: value for name, value in (second["answer"] | change).items() if value is not ...}
    path.write_text(json.dumps(first) + "\n" + json.dumps(second | {"answer": content}) + "\n")
    with pytest.raises(UserError) as caught:
        list(answers_of(path, {VERSION: declared}))
    assert str(caught.value).startswith(f"answers: {path}: line 2: {line}")
    assert "much" not in str(caught.value) and "far" not in str(caught.value)


@pytest.mark.parametrize("patient", ["", "  ", None, 7, ["anna"], "\ud800"])
def test_an_answer_of_nobody_is_refused(patient: object, declared: Declared, tmp_path: Path) -> None:
    """Blank or null would be one patient for all who have no id."""
    path = releases.answers(tmp_path / "answers.jsonl", ["anna"], [0.5])
    answer = json.loads(path.read_text().splitlines()[1])
    path.write_text(json.dumps(answer | {"patient_id": patient}) + "\n")
    with pytest.raises(UserError, match=r"answers\.jsonl: line 1 is no answer of python -m serve\.batch"):
        list(answers_of(path, {VERSION: declared}))


def test_an_outcome_of_nobody_is_refused(declared: Declared, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("patient_id,biomarker\nanna,positive\n ,negative\n")
    with pytest.raises(UserError, match=r"outcomes\.csv: row 3: patient_id is blank; name the patient"):
        list(outcomes_of(path, "biomarker", declared))
