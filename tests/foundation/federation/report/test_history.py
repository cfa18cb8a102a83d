"""A history that lacks facts, is damaged, or is long: the page is drawn, or one line says why not."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.report.page import write_report
from tests.foundation.federation.report.pages import Page, report
from tests.foundation.federation.report_runs import SITES, record, rounds, write_run


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("coverage", "Coverage: not measured"),
        ("seconds", "Seconds by round: not measured"),
        ("drift", "Cosine between updates: not measured"),
        ("privacy", "Epsilon and delta: not measured"),
        ("evaluation", "Retrieval between modalities, times chance: not measured"),
        ("training", "Bytes: not measured"),
        ("absent", "Ledger: not measured"),
    ],
)
def test_what_is_missing_is_not_measured(tmp_path, missing, said):
    content = [{name: value for name, value in part.items() if name != missing} for part in rounds()]
    assert said in Page(report(write_run(tmp_path / "run", content))).text


def test_an_unfinished_run_has_a_page(tmp_path):
    page = Page(report(write_run(tmp_path / "run", [], status="failed")))
    assert "Rounds 0 of 8" in page.text
    assert page.text.count("not measured") > 10
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "run.json").write_text("{}")
    (bare / "history.json").write_text('{"rounds": [{"round": 1}]}')
    assert "Rounds 1" in Page(report(bare)).text


def cut(content, draw):
    """Some facts are gone, at any depth."""
    if isinstance(content, dict):
        return {name: cut(value, draw) for name, value in content.items() if name == "round" or draw(st.integers(0, 5))}
    return [cut(value, draw) for value in content] if isinstance(content, list) else content


@given(st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_fact_may_be_missing(tmp_path, data):
    folder = write_run(tmp_path / "run", [cut(part, data.draw) for part in rounds(4)])
    (folder / "run.json").write_text(json.dumps(cut(record(), data.draw)))
    page = report(folder)
    Page(page)
    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(picture)


def test_text_of_sites_is_only_text(tmp_path):
    name = '<script>alert("x")</script>&'
    content = json.loads(json.dumps(rounds()).replace("riverside", json.dumps(name)[1:-1]))
    content[0]["absent"][name] = "<b>gone</b>"
    config = record()["config"] | {"sites": [name, *SITES[1:]]}
    page = report(write_run(tmp_path / "run", content, config=config))
    assert page.count("<script>") == 1  # the page's own, which opens the tables for print
    assert "<b>" not in page
    assert name in Page(page).text


def test_many_rounds_and_sites_have_room(tmp_path):
    content = rounds(150)
    names = [f"hospital of a rather long name number {index}" for index in range(24)]
    for part in content[:3]:
        own = part["training"]["northgate"] if "northgate" in part["training"] else part["training"]["riverside"]
        part["training"] |= {name: copy.deepcopy(own) for name in names}
        part["evaluation"] |= {name: copy.deepcopy(part["evaluation"]["summit"]) for name in names}
        part["coverage"] = {group: dict.fromkeys(names, 1 / 24) for group in part["coverage"]}
    page = report(write_run(tmp_path / "run", content))
    assert "rounds 1–5, mean" in page
    assert len(page) < 3e6


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("history.json", None, "no history.json found; give the output folder"),
        ("run.json", None, "no run.json found"),
        ("history.json", "{", "history.json: not readable as JSON"),
        ("history.json", "[]", "history.json: the file: "),
        ("history.json", '{"rounds": [{}]}', r"history.json: rounds.0.round: Field required"),
        ("history.json", '{"rounds": [{"round": 1, "drift": {"a": "x"}}]}', r"rounds.0.drift.a: .* found 'x'"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_line(run, file, content, message):
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    with pytest.raises(UserError, match=message):
        write_report(run)
    assert not (run / "report.html").exists()
