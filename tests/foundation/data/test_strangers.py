"""Files that name nobody: refused each, or left out and counted where the declaration says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foundation.data.declaration import declare
from foundation.data.validation import validate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("radiology", "reports"):
        (tmp_path / "a" / folder).mkdir(parents=True)
    (tmp_path / "a" / "patients.csv").write_text("patient_id,y\np1,0\np2,1\n")
    for number, name in enumerate(("p1", "p2", "p9", "phantom")):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / "radiology" / f"{name}.png")
    for name in ("p1", "p9"):
        (tmp_path / "a" / "reports" / f"{name}.txt").write_text(f"Report of {name}.")
    return tmp_path


def checked(root: Path, unknown: str, **sources: Any) -> tuple[Any, list[str], list[str]]:
    content = {"name": "x", "synthetic": True, "description": "x", "hospitals": ["a"], "unknown_patients": unknown}
    content |= {"sources": sources, "dictionary": {"labels": ["y"]}}
    validation = validate(root, declare(content, root), progress=False)
    files = [problem for problem in validation.problems.listed if "name" in problem.finding]
    errors = [Path(problem.file).name for problem in files if problem.severity == "error"]
    return validation.sites[0], errors, [p.finding for p in files if p.severity == "warning"]


@pytest.mark.parametrize("pattern", [None, r"radiology/(.+)\.png"])
def test_files_of_nobody_are_left_out_where_that_is_declared(root: Path, pattern: str | None):
    radiology = {"files": "radiology/*.png", "key_pattern": pattern}
    site, errors, warnings = checked(root, "ignore", radiology=radiology)
    assert errors == []
    assert warnings == [
        "2 files that name no patient are left out, such as radiology/p9.png",
        "1 files that name no patient are left out, such as reports/p9.txt",
    ]
    assert site.tables["radiology"].index.tolist() == ["p1", "p2"]
    assert site.tables["reports"].index.tolist() == ["p1"]


def test_else_each_is_an_error(root: Path):
    _, errors, warnings = checked(root, "error", radiology={"files": "radiology/*.png"})
    assert sorted(errors) == ["p9.png", "p9.txt", "phantom.png"]
    assert warnings == []
