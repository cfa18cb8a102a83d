"""The README's table of results is what the committed records of benchmark runs give."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_results", ROOT / "scripts/bench/readme_results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_records_say(script: ModuleType):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script.filled(readme) == readme
    assert "| all that a patient has | 0.985 (0.985 – 0.987) |" in readme


def test_a_changed_figure_changes_the_table(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record = json.loads(script.RECORD.read_text(encoding="utf-8"))
    row = next(row for row in record["figures"] if row["id"] == "idh/all, seeds")
    row["value"] = 0.9999
    (tmp_path / "record.json").write_text(json.dumps(record))
    monkeypatch.setattr(script, "RECORD", tmp_path / "record.json")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "| all that a patient has | 1.000 (0.985 – 0.987) |" in script.filled(readme)


def test_a_readme_without_the_marks_is_refused(script: ModuleType):
    with pytest.raises(SystemExit, match="put them back"):
        script.filled("no table")


def test_a_record_names_its_command_its_data_and_no_place_of_a_machine(script: ModuleType):
    text = script.RECORD.read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["command"].startswith("python scripts/bench/subsets.py")
    assert len(record["data"]["digest"]) == 64
    assert "/tmp" not in text and "/home" not in text
    assert all({"id", "value", "low", "high", "n", "split"} <= row.keys() for row in record["figures"])
