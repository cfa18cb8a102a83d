"""The page of a federated run: all that it says stands in the run's files, and what is not there is not measured."""

import copy
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger import Ledger
from foundation.federation.report import __main__ as command
from foundation.federation.report import write_report
from foundation.federation.report.elements import duration, size, spans
from foundation.federation.report.history import Run, nearest, times_chance
from foundation.federation.report.svg import ticks
from tests.foundation.federation.report_runs import SITES, record, rounds, write_other, write_run

Rows = dict[str, list[str]]


class Page(HTMLParser):
    """The tables of a page by their caption, its text, and whether its elements close as they should."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self.words: list[str] = []
        self.open: list[str] = []
        self.row: list[str] | None = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag in self.VOID:
            return
        self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.row = []
        elif tag in ("th", "td") and self.row is not None:
            self.row.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            self.tables[self.caption] = {}
        elif tag == "tr" and self.row is not None:
            self.tables[self.caption][self.row[0]] = self.row[1:]
            self.row = None

    def handle_data(self, data):
        if self.open and self.open[-1] == "caption":
            self.caption += data
        elif self.row:
            self.row[-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def report(*arguments, **settings) -> str:
    return write_report(*arguments, **settings).read_text()


def column(rows: Rows, name: str) -> dict[str, str]:
    heads = next(iter(rows.items()))
    at = heads[1].index(name)
    return {key: cells[at] for key, cells in list(rows.items())[1:]}


def test_the_page_needs_nothing_beside_itself(run):
    path = write_report(run)
    assert path == run / "report.html"
    assert sorted(file.name for file in run.iterdir()) == ["history.json", "report.html", "run.json"]
    page = path.read_text()
    assert re.findall(r"https?://[^\"' ]+", page.replace("http://www.w3.org/2000/svg", "")) == []
    assert not re.search(r"<(link|img|iframe|object)\b|\bsrc=|url\(|@import", page)
    Page(page)


def test_every_picture_is_drawn_whole_named_and_beside_its_numbers(run, tmp_path):
    page = report(run, [write_other(tmp_path / "pooled", list(SITES[:3]), 2.0, 0.6)])
    pictures = re.findall(r'<div class="picture">(<svg.*?</svg>)</div>\s*(<details>)?', page, flags=re.DOTALL)
    assert len(pictures) == 12
    for picture, table in pictures:
        assert table
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        width, height = (float(value) for value in root.get("viewBox").split()[2:])
        assert "nan" not in picture
        for element in root.iter():
            for name, limit in (
                ("x", width),
                ("cx", width),
                ("x1", width),
                ("x2", width),
                ("y", height),
                ("cy", height),
            ):
                value = element.get(name)
                assert value is None or -1 <= float(value) <= limit + 1, ElementTree.tostring(element)
            right = float(element.get("x") or 0) + float(element.get("width") or 0)
            assert element.tag.endswith("svg") or right <= width + 1


def test_who_took_part_when(run):
    page = Page(report(run))
    rows = page.tables["Rounds by site"]
    assert rows["riverside"] == ["1–6, 8", "–", "7", "–", "–"]
    assert rows["northgate"] == ["1–2, 5–8", "4", "–", "3", "–"]
    assert rows["lakeview"] == ["1–4, 7–8", "–", "–", "5–6", "–"]
    assert rows["summit"] == ["–", "–", "1–8", "–", "–"]
    reasons = page.tables["By site and reason"]
    assert reasons["lakeview"][0] == "5–6"
    assert reasons["lakeview"][1].endswith("this is the fifth <ask the data office>")
    assert "held out: summit" in page.text
    assert "Sites trained 3 of 4 3 times absent" in page.text


def test_coverage_is_the_mean_share_of_the_rounds(run):
    content = rounds()
    rows = Page(report(run)).tables["Mean share over the rounds"]
    for group in content[0]["coverage"]:
        for site, told in zip(SITES[:3], rows[group], strict=False):
            mean = np.mean([part["coverage"][group].get(site, 0) for part in content])
            assert told == (f"{mean:.1%}" if mean else "–")
    assert rows["genomics"][-1] == "none"


def test_a_group_that_nobody_trained_is_named(tmp_path):
    content = rounds(3)
    content[1]["coverage"]["genomics"] = {}
    content[2]["coverage"]["genomics"] = {"riverside": 0.0}
    page = Page(report(write_run(tmp_path / "run", content)))
    assert page.tables["Mean share over the rounds"]["genomics"][-1] == "2–3"


def test_losses_and_retrieval_are_those_of_the_history(run):
    content, page = rounds(), Page(report(run))
    rows = page.tables["Loss by site and round, in training and in evaluation"]
    for part in content:
        for site in SITES:
            told = rows["round"].index(f"{site}, evaluation")
            value = part["evaluation"].get(site, {}).get("loss")
            assert rows[str(part["round"])][told] == ("–" if value is None else f"{value:.4g}")
        told = rows[str(part["round"])][rows["round"].index("northgate, training")]
        value = part["training"].get("northgate", {}).get("metrics", {}).get("train/loss_epoch")
        assert told == ("–" if value is None else f"{value:.4g}")
    assert times_chance({"a/r@5": 0.4, "a/chance@5": 0.1, "b/r@5": 0.2, "b/chance@5": 0.1, "a/r@1": 9.0}) == 3.0
    assert times_chance({"a/r@5": 0.4, "a/chance@5": 0.0}) is None
    assert nearest([{"a/r@1": 0.4, "a/r@5": 0.4, "a/r@10": 0.4}]) == 5
    assert nearest([None, {"a/r@1": 0.4, "loss": 1.0}]) == 1
    assert nearest([{"loss": 1.0}]) is None
    rows = page.tables["All that was evaluated after round 8; recall (r@k) with that of chance in brackets"]
    assert (
        rows["pathology_to_report/r@5"][3]
        == f"{content[-1]['evaluation']['summit']['pathology_to_report/r@5']:.4g} (0.1)"
    )
    assert "pathology_to_report/chance@5" not in rows
    last = f"{content[-1]['evaluation']['summit']['loss']:.4g}"
    assert f"Loss, held out {last} after round 8" in page.text


def test_a_loss_that_is_no_number_is_a_gap(tmp_path):
    content = rounds(4)
    content[1]["evaluation"]["summit"]["loss"] = float("nan")
    content[2]["evaluation"]["summit"]["loss"] = None
    page = report(write_run(tmp_path / "run", content))
    rows = Page(page).tables["Loss by site and round, in training and in evaluation"]
    at = rows["round"].index("summit, evaluation")
    assert [rows[str(n)][at] == "–" for n in range(1, 5)] == [False, True, True, False]


def test_bytes_and_time_add_up(run):
    content, page = rounds(), Page(report(run))
    rows = page.tables["Bytes over all rounds, of updates that were taken"]
    for site in SITES[:3]:
        moved = [part["training"][site]["bytes"] for part in content if site in part["training"]]
        assert rows[site][0] == f"{sum(way['to_site'] for way in moved):,}"
        assert rows[site][1] == f"{sum(way['from_site'] for way in moved):,}"
        assert rows[site][2] == str(len(moved))
        assert rows[site][4] == "25.8%"
    rows = page.tables["Seconds by round"]
    busy = whole = 0.0
    for part in content:
        longest = max(own["metrics"]["seconds"] for own in part["training"].values())
        total, training = part["seconds"]["total"], part["seconds"]["training"]
        told = dict(zip(rows["round"], rows[str(part["round"])], strict=True))
        assert told["training at sites"] == f"{longest:.4g}"
        assert told["waiting and transport"] == f"{training - longest:.4g}"
        assert told["total"] == f"{total:.4g}"
        assert told["other"] == "0.9"
        busy, whole = busy + longest, whole + total
    assert f"of which {1 - busy / whole:.1%} was not training at sites" in page.text
    site = page.tables["Seconds by site, over the rounds in which it took part"]["summit"]
    assert site == ["0", f"{whole - 8 * 3.1:.4g}", "24.8"]


def test_sites_that_train_in_turn_are_not_waiting(tmp_path):
    content = rounds(1)
    own = sum(part["metrics"]["seconds"] for part in content[0]["training"].values())
    content[0]["seconds"].update(training=own + 5, total=own + 20)
    config = record()["config"] | {"strategy": {"_target_": "foundation.federation.strategies.averaging.Cyclic"}}
    rows = Page(report(write_run(tmp_path / "run", content, config=config))).tables["Seconds by round"]
    assert dict(zip(rows["round"], rows["1"], strict=True))["waiting and transport"] == "5"


def test_privacy_is_said_with_its_assumptions(run):
    page = Page(report(run))
    assert column(page.tables["By round, of all rounds until then"], "epsilon")["8"] == f"{0.8 * 8**0.6:.4g}"
    assert page.tables["As the run wrote them down"]["clip"] == ["1.0"]
    assert page.tables["As the run wrote them down"]["assumptions"][0].startswith("sites take part at random; one ")
    assert "delta 1e-05" in page.text


def test_secure_rounds_are_named(tmp_path):
    content = rounds(2)
    for part in content:
        part["coverage"] = {"genomics": {"sum of sites": 1.0}}
        part["secure"] = {"contributors": {"genomics": 3}, "withheld": {"report": "1 site"}}
    page = Page(report(write_run(tmp_path / "run", content)))
    rows = page.tables["Rounds in which the server saw sums over sites, and no site's own update"]
    assert rows["2"] == ['{"genomics": 3}', '{"report": "1 site"}']
    assert page.tables["Mean share over the rounds"]["genomics"] == ["100.0%", "none"]


# ---- what is not there


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


# ---- other runs


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


# ---- ledgers


def write_ledger(path: Path, owner: str, server: bool) -> Path:
    ledger = Ledger.open(path, owner, *(["server"] if server else []))
    ways = ("out", "in") if server else ("in", "out")
    for number in (1, 2):
        for kind, way in zip(("order", "update"), ways, strict=True):
            facts = {"run": "c" * 64, "round": number, "groups": ["fusion"], "size": 1000, "digest": "e" * 64}
            ledger.append(kind, way, peer="riverside" if server else "server", **facts)
    return path


def test_the_runs_own_ledger_is_verified(run):
    write_ledger(run / "ledger.jsonl", "server", True)
    page = Page(report(run))
    assert "Verified: 5 entries, none altered; not held against the other side's." in page.text
    assert page.tables["Read and verified for this page"]["server"][1:] == ["5", "2", "2", "2,000", "2,000", "yes"]
    assert "Ledger verified" in page.text


def test_a_changed_ledger_is_not_verified(run):
    path = write_ledger(run / "ledger.jsonl", "server", True)
    path.write_bytes(path.read_bytes().replace(b"1000", b"1001", 1))
    page = Page(report(run))
    assert "Not verified: " in page.text
    assert "Ledger problems" in page.text
    assert "ledger.jsonl" in page.tables["As they were found"]["1"][0]


def test_ledgers_are_held_against_one_another(run, tmp_path):
    server, site = (
        write_ledger(run / "ledger.jsonl", "server", True),
        write_ledger(tmp_path / "site.jsonl", "riverside", False),
    )
    page = Page(report(run, ledgers=[server, site]))
    assert "Verified: 10 entries, none altered; reconciled with one another." in page.text
    Ledger.open(site, "riverside").append(
        "update", "out", run="c" * 64, round=3, peer="server", groups=["fusion"], size=9, digest="a" * 64
    )
    page = Page(report(run, ledgers=[server, site]))
    assert "Not verified: 1 found." in page.text
    assert page.tables["As they were found"]["1"][0].startswith("lost: ")


def test_problems_found_elsewhere_are_told(run, tmp_path):
    page = Page(report(run, problems=["northgate: entry 7 was altered"]))
    assert page.tables["As they were found"]["1"] == ["northgate: entry 7 was altered"]
    page = Page(report(run, ledgers=[tmp_path / "gone.jsonl"]))
    assert "gone.jsonl: cannot be read" in page.text


# ---- the command, and what the page is made of


def called(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m foundation.federation.report", *arguments])
    GlobalHydra.instance().clear()
    try:
        command.main()
    finally:
        GlobalHydra.instance().clear()


def test_the_command_writes_the_page(run, tmp_path, monkeypatch, capsys):
    other = write_other(tmp_path / "pooled", list(SITES[:3]), 2.0, 0.6)
    monkeypatch.chdir(tmp_path)
    called(monkeypatch, f"run={run}", f"others=[{other}]")
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert "Local, federated and pooled" in (run / "report.html").read_text()
    for arguments, message in (([], "error: run: none given; say run=FOLDER"), (["runn=x"], "did you mean 'run'?")):
        with pytest.raises(SystemExit) as left:
            called(monkeypatch, *arguments)
        assert left.value.code == 2
        assert message in capsys.readouterr().err


def test_the_page_names_its_sources(run):
    text = Page(report(run)).text
    for name, digest in Run.read(run).digests.items():
        assert f"{name} SHA-256 {digest[:16]}" in text
    assert "strategy: FedProx (proximal 0.01); compression: Compressor (kind int8)" in text
    assert f"config digest {'c' * 64}" in text


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 8))
@settings(deadline=None)
def test_ticks_cover_what_they_are_for(low, width, most):
    found = ticks(low, low + width, most)
    slack = 1e-6 * (found[1] - found[0])
    assert found[0] <= low + slack
    assert found[-1] >= low + width - slack
    assert found == sorted(set(found))
    assert 2 <= len(found) <= most + 2


@given(st.sets(st.integers(1, 60)))
def test_spans_hold_every_round(numbers):
    found: set[int] = set()
    for part in filter(None, spans(sorted(numbers)).split(", ")):
        first, _, last = part.partition("–")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_units_are_readable():
    assert [size(value) for value in (0, 999, 1500, 2.5e6, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]
    assert [duration(value) for value in (5, 119, 600, 7200)] == ["5 s", "119 s", "10 min", "2 h"]
