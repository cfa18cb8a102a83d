"""Lines bound by their hashes, and what is said of one that lacks a field."""

from pathlib import Path

import pytest

from foundation.chained_file import ChainedFile
from foundation.errors import UserError


def test_a_field_that_a_line_lacks_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = ChainedFile(tmp_path / "ledger.jsonl")
    file.add({"event": "a", "sums": {"x": 1}})
    file.add({"event": "b", "sums": [1]})
    first, second = file.entries()
    assert first["event"] == "a" and first.mapping("sums") == {"x": 1} and first.get("quarter") is None
    remedy = "install the release that wrote it, or begin another folder"
    with pytest.raises(UserError, match=rf"ledger\.jsonl: line 2 holds no 'quarter'; {remedy}"):
        second["quarter"]
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 2 holds \[1\] as 'sums', not an object; install"):
        second.mapping("sums")
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 1 holds no 'looks'"):
        first.mapping("looks")
