"""A federated run beside other runs."""

import json

import pytest

from foundation.errors import UserError
from foundation.federation.report.page import write_report
from tests.foundation.federation.report.pages import Page, report
from tests.foundation.federation.report_runs import SITES, rounds, write_other, write_run


def test_runs_are_compared_where_both_were_evaluated(run, tmp_path):
    pooled = write_other(tmp_path / "pooled", list(SITES[:3]), 2.05, 0.6)
    local = [write_other(tmp_path / f"local_{site}", [site], 2.5, 0.4) for site in SITES[:2]]
    page = Page(report(run, [pooled, *local, run]))
    loss = page.tables["Loss (lower is better)"]
    assert loss["place"] == ["federated", "pooled", "local: riverside", "local: northgate"]
    own = rounds()[-1]["evaluation"]["summit"]["loss"]
    assert loss["summit"] == [f"{own:.4g}", "2.05", "2.5", "2.5"]
    assert set(loss) == {"place", "summit"}
    assert page.tables["Retrieval, times chance (higher is better)"]["summit"][1:] == ["6", "4", "4"]
    assert page.tables["As their run records have it"]["pooled"][4] == "riverside, northgate, lakeview"
    assert "read different data" not in page.text


def test_two_runs_of_a_kind_keep_their_folders_names(run, tmp_path):
    others = [write_other(tmp_path / name, list(SITES[:3]), 2.0, 0.5) for name in ("one/pooled", "two/pooled")]
    path = others[1] / "run.json"
    path.write_text(path.read_text().replace("d" * 64, "e" * 64))
    page = Page(report(run, others))
    assert page.tables["Loss (lower is better)"]["place"][1:] == [f"pooled ({folder})" for folder in others]
    assert "read different data" in page.text


def test_hospitals_held_out_together_are_weighed_by_their_patients(tmp_path):
    content = rounds(1)
    content[0]["evaluation"] = {"lakeview": {"loss": 1.0, "patients": 30}, "summit": {"loss": 4.0, "patients": 10}}
    config = {"sites": list(SITES), "data": {"test_hospitals": ["lakeview", "summit"]}}
    run = write_run(tmp_path / "run", content, config=config)
    other = write_other(tmp_path / "pooled", list(SITES[:2]), 2.0, 0.5)
    path = other / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    page = Page(report(run, [other]))
    assert page.tables["Loss (lower is better)"]["lakeview, summit"] == ["1.75", "2"]
    assert "the mean of the hospitals' own, by their patients" in page.text


def test_a_run_that_is_not_there_is_one_line(run, tmp_path):
    with pytest.raises(UserError, match=r"others: .*nowhere is no folder"):
        write_report(run, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run.json found"):
        write_report(run, [tmp_path / "empty"])
