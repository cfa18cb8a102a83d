"""What an evaluation prints."""

import pytest

from finetune.evaluate import print_table

GROUP = {"n": 27, "idh known": 27, "idh positive": 15, "codel known": 27, "codel positive": 6}
AUC = {"auc": {"value": 0.906, "low": 0.771, "high": 0.997}}


def test_print_table_names_every_group_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    group = {**GROUP, **AUC}
    hospitals = {"university_of_florida": group}
    tables = {"new_hospital": AUC, "by_hospital": hospitals, "by_modality": {}, "by_group": {}, "baseline": {}}
    print_table({**GROUP, "overall": AUC, **tables, "baselines": {}, "controls": {}}, "auc")
    cells = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert "university_of_florida" in "".join(cells)
    assert "…" not in "".join(cells)
