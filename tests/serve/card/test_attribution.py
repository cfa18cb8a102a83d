"""An example of what an answer goes by: drawn on a synthetic patient's images, every number its record's, no person."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.files import write_json
from foundation.modalities.image_request import ImagesForm
from serve.card.build import Inputs, build
from serve.card.check import check
from tests.serve.card.chains import chain
from tests.serve.card.conftest import written
from tests.serve.card.test_pictures import svg_of

CHANGES = [[0.25, -0.125], [0.0, 0.0625]]


def explain(export: Path) -> None:
    """The example of an export, as `serve.export` leaves it for a synthetic cohort."""
    images = ImagesForm(size=4).write(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    write_json(export / "patient.json", {"pathology": images, "report": "Atypia."})
    content: dict[str, Any] = {
        "explained": "probability of class 2",
        "value": 0.8125,
        "modalities": [{"field": "pathology", "change": 0.1875}, {"field": "report", "change": -0.3125}],
        "faithfulness": {"pathology": {"ordered": 0.4375, "random": 0.0938}},
        "images": [{"field": f"pathology[{place}]", "changes": CHANGES} for place in (1, 0)],
    }
    write_json(export / "explanation.json", content)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    chain(tmp_path, synthetic=True)
    explain(tmp_path / "export")
    return tmp_path


def inputs(root: Path) -> Inputs:
    return Inputs((root / "evaluation",), "demo", "mit", root / "export")


def test_the_example_is_told_in_numbers_of_its_record(exported: Path):
    card = build(inputs(exported), exported / "card")
    readme, nodes = card.documents["README.md"], card.content["nodes"]
    assert "A synthetic patient, whose probability of class 2 is 0.812." in readme
    assert "| pathology | 0.188 |\n| report | -0.312 |" in readme
    assert "| pathology | 0.438 | 0.094 |" in readme
    assert nodes["attribution/images/0/0/1"]["sources"] == [
        ["../export/explanation.json", "images", 0, "changes", 0, 1]
    ]


def test_squares_are_drawn_on_the_image_that_tells_the_most(exported: Path):
    page = build(inputs(exported), exported / "card").documents["card.html"]
    drawing = svg_of(page, "attribution/images/0")
    words = "Image pathology[1]: red squares raise the number, blue ones lower it. "
    assert drawing.get("aria-label") == words + "The largest change, 0.250, is in row 1, column 1."
    (image,) = drawing.iter("image")
    request = json.loads((exported / "export" / "patient.json").read_text())
    assert image.get("href") == f"data:image/png;base64,{request['pathology'][1]}"
    boxes = [(box.get("class"), box.get("x"), box.get("y"), box.get("fill-opacity")) for box in drawing.iter("rect")]
    assert boxes == [
        ("raises", "0.0", "0.0", "0.75"),
        ("lowers", "120.0", "0.0", "0.38"),
        ("raises", "0.0", "120.0", "0.00"),
        ("raises", "120.0", "120.0", "0.19"),
    ]
    assert 'id="attribution/images/1"' not in page  # one image a modality


@pytest.mark.parametrize("synthetic", [True, False])
def test_no_person_is_shown(tmp_path: Path, synthetic: bool):
    chain(tmp_path, synthetic=synthetic)
    explain(tmp_path / "export")
    page = build(inputs(tmp_path), tmp_path / "card").documents["card.html"]
    assert ("What an answer goes by" in page) is synthetic
    assert ("data:image/png" in page) is synthetic


def test_an_export_without_an_example_has_no_such_section(tmp_path: Path):
    chain(tmp_path)
    assert "What an answer goes by" not in build(inputs(tmp_path), tmp_path / "card").documents["README.md"]


@pytest.mark.parametrize(
    ("file", "before", "after", "line"),
    [
        ("export/explanation.json", "0.8125", "0.9125", "explanation.json: sha256"),
        ("export/patient.json", "iVBOR", "iVBOX", "patient.json: sha256"),
        ("card/card.json", '"value": 0.8125', '"value": 0.9125', "attribution/value: value is 0.9125"),
        ("card/README.md", "| report | -0.312 |", "| report | -0.412 |", "attribution/modalities/1/change is '-0.312'"),
        ("card/card.html", 'class="lowers"', 'class="raises"', "card.html: line"),
    ],
)
def test_an_edit_of_it_is_named(exported: Path, file: str, before: str, after: str, line: str):
    written(inputs(exported), exported / "card")
    assert check(exported / "card") == []
    path = exported / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    assert re.search(re.escape(line), "\n".join(check(exported / "card")))
