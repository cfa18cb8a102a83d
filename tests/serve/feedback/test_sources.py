"""Lines of answers that lack a field, or hold what is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.feedback.declared import Declared, declare
from serve.feedback.sources import answers_of
from serve.release.rules import Rules
from tests.serve.feedback import releases
from tests.serve.feedback.releases import VERSION


@pytest.fixture
def declared(tmp_path: Path) -> Declared:
    folder = releases.release(tmp_path / "release")
    return declare(folder / "bundle", folder, Rules(), 0.05)


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
