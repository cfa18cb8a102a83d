"""The report's sections tell what the run wrote down."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from foundation.federation.report.history import nearest, times_chance
from foundation.federation.report.page import write_report
from tests.foundation.federation.report.pages import Page, Rows, report
from tests.foundation.federation.report_runs import SITES, record, rounds, write_other, write_run


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
    pictures = re.findall(r'<div class="picture"[^>]*>(<svg.*?</svg>)</div>\s*(<details>)?', page, flags=re.DOTALL)
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
