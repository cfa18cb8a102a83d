import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.run_record import RunRecord
from serve.card import build
from serve.facts import Facts

COHORT = {"name": "demo", "digest": "c0ffee" * 10, "synthetic": True, "hospitals": ["alder", "bir|ch", "cedar_7"]}


FOUND = {"patients": 59.0, "loss": 1.2345, "report_to_record/r@5": 0.4321, "report_to_record/chance@5": 0.0877}
TRAINED = {"patients": 9.0, "loss": 2.3456, "report_to_record/r@5": 0.9876, "report_to_record/chance@5": 0.5555}
TAUGHT = {"report": 321, "fusion": 321, "objective:alignment": 321}


def pretrained(folder: Path, federated: bool, found: dict[str, float]) -> None:
    config = {"rounds": 4, "data": {"test_hospitals": ["cedar_7"]}}
    command = "python -m pretrain.federated" if federated else "python -m pretrain"
    with RunRecord.open(folder, command, config, 0, [], COHORT) as record:
        if federated:
            record.metrics["evaluation"] = {"alder": TRAINED, "cedar_7": found}
            record.note("samples", {"alder": TAUGHT, "bir|ch": {"record": 123}})
        else:
            record.metrics |= {"train/loss_epoch": 2.3456, "train/alignment": 1.8765, "held_out": found}
            record.note("samples", TAUGHT)


@pytest.fixture
def evaluation(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A chain of runs down from an evaluation, as the commands write it; a parameter says how it was pretrained."""
    folder = tmp_path / "pretrain"
    pretrained(folder, **({"federated": True, "found": FOUND} | getattr(request, "param", {})))
    (folder / "encoder").mkdir()
    settings = {"width": 96, "dropout": 0.25, "drop_rate": 0.0}
    modalities = {"report": {"type": "foundation.modalities.report.encoder.Report", "settings": settings}}
    write_json(folder / "encoder" / "config.json", {"modalities": modalities})
    with RunRecord.open(tmp_path / "finetune", "python -m finetune", {}, 0, [folder], COHORT) as record:
        record.metrics["loss"] = 0.321
    write_json(tmp_path / "finetune" / "task.json", {"name": "biomarker", "kind": "classification"})
    with RunRecord.open(tmp_path / "eval", "python -m finetune.evaluate", {}, 0, [tmp_path / "finetune"], COHORT):
        auc = {"value": 0.8642, "low": 0.7931, "high": 0.9287}
        group = {"n": 57, "events": None, "auc": auc}
        content = {
            "overall": {"auc": auc, "ece": {"value": 0.0411, "low": None, "high": None}},
            "baseline": {"auc": {"value": 0.5512, "low": 0.4501, "high": 0.6509}},
            "by_hospital": {"cedar_7": group},
            "by_modality": {"all": group, "report": group},
            "n": 57,
            "events": None,
        }
        write_json(tmp_path / "eval" / "evaluation.json", content)
        (tmp_path / "eval" / "evaluation.png").write_bytes(b"picture")
    return tmp_path / "eval"


def test_card_tells_results_and_walks_back_to_pretraining(evaluation: Path, tmp_path: Path) -> None:
    markdown, html, content = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert "| AUC | 0.864 (0.793 – 0.929) | 0.551 (0.450 – 0.651) |" in markdown
    assert "| cedar\\_7 | 57 | – | 0.864 (0.793 – 0.929) |" in markdown
    assert "`python -m pretrain.federated`" in markdown
    assert "Synthetic data" in markdown
    assert "bir\\|ch" in markdown
    assert content["sources"]["../eval/evaluation.json#/overall/auc/value"] == 0.8642
    assert "<td>0.864 (0.793 – 0.929)</td>" in html
    assert "---\nlicense" not in html
    json.dumps(content, default=str)


def test_pretraining_tells_who_trained_what_and_retrieval_at_the_hospital_held_out_alone(
    evaluation: Path, tmp_path: Path
) -> None:
    markdown, _, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert "| site | record | report |\n| --- | --- | --- |\n| alder | – | 321 |\n| bir\\|ch | 123 | – |" in markdown
    assert "Held out, cedar\\_7: 59 patients, loss 1.234." in markdown
    assert (
        "| from | to | recall at 5 | chance |\n| --- | --- | --- | --- |\n| report | record | 0.432 | 0.088 |"
        in markdown
    )
    for other in ("0.988", "r@5", "2.346", "objective", "fusion"):
        assert other not in markdown


@pytest.mark.parametrize("evaluation", [{"federated": False}], indirect=True)
def test_pretraining_at_one_place_tells_the_same(evaluation: Path, tmp_path: Path) -> None:
    markdown, _, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert "| all sites pooled | 321 |" in markdown
    assert "| training alignment | 1.877 |\n| training loss, mean of the last epoch | 2.346 |" in markdown
    assert "Held out, cedar\\_7: 59 patients, loss 1.234." in markdown
    assert "| report | record | 0.432 | 0.088 |" in markdown


@pytest.mark.parametrize("evaluation", [{"found": {"patients": 3.0}}], indirect=True)
def test_a_hospital_too_small_for_retrieval_is_still_named(evaluation: Path, tmp_path: Path) -> None:
    markdown, _, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert "Held out, cedar\\_7: 3 patients, loss –." in markdown
    assert "recall at" not in markdown


def test_settings_read_as_one_types_them(evaluation: Path, tmp_path: Path) -> None:
    markdown, _, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    (row,) = [line for line in markdown.splitlines() if line.startswith("| report | Report |")]
    assert sorted(row.split("|")[3].strip().split(", ")) == ["drop rate 0", "dropout 0.25", "width 96"]


def test_pictures_lie_beside_the_card(evaluation: Path, tmp_path: Path) -> None:
    """Two evaluations of one task keep a picture each."""
    arguments = [f"evaluation=[{evaluation},{evaluation}]", f"output={tmp_path / 'card'}"]
    subprocess.run([sys.executable, "-m", "serve.card", *arguments], check=True, capture_output=True, timeout=120)
    markdown, html = ((tmp_path / "card" / name).read_text() for name in ("README.md", "card.html"))
    for name in ("evaluation-biomarker.png", "evaluation-biomarker-2.png"):
        assert (tmp_path / "card" / name).read_bytes() == b"picture"
        assert f"by modalities, beside the baseline]({name})" in markdown
        assert f'<img src="{name}" alt="Intervals of biomarker' in html


class Nesting(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.seen.append(tag)
        if tag != "meta":  # void, and written without a slash
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(evaluation: Path, tmp_path: Path) -> None:
    _, html, _ = build([evaluation], tmp_path / "card", "<b>&name", "apache-2.0")
    nesting = Nesting()
    nesting.feed(html)
    nesting.close()
    assert nesting.open == []
    assert nesting.seen.count("style") == nesting.seen.count("h1") == nesting.seen.count("img") == 1
    assert not {"script", "link", "b", "iframe"} & set(nesting.seen)
    assert "http" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_tables_are_whole(evaluation: Path, tmp_path: Path) -> None:
    """A blank line or a missing cell inside a table would end it as a table."""
    markdown, html, _ = build([evaluation, evaluation], tmp_path / "card", "two", "apache-2.0")
    blocks = [block for block in markdown.split("\n\n") if block.startswith("|")]
    assert html.count("<table>") == len(blocks)
    for block in blocks:
        counts = {line.replace("\\|", "").count("|") for line in block.strip().splitlines()}
        assert len(counts) == 1, block


def test_front_matter_is_yaml(evaluation: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    markdown, _, _ = build([evaluation], tmp_path / "card", "name: odd", "apache-2.0")
    front = yaml.safe_load(markdown.split("---\n")[1])
    result = front["model-index"][0]["results"][0]
    assert front["model-index"][0]["name"] == "name: odd"
    assert result["metrics"][0] == {"type": "auc", "name": "AUC, held-out test", "value": 0.864}
    assert result["dataset"]["name"] == "demo (synthetic)"


def test_a_number_from_nowhere_is_refused(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    write_json(tmp_path / "a.json", {"auc": 0.8642})
    assert facts.read(tmp_path / "a.json", "auc") == 0.8642
    facts.check("AUC 0.864, at 95 %", wording="95 %")
    with pytest.raises(UserError, match=r"0\.912"):
        facts.check("AUC 0.912", wording="")


def test_a_changed_run_is_refused(evaluation: Path, tmp_path: Path) -> None:
    path = tmp_path / "pretrain" / "run.json"
    path.write_text(path.read_text().replace("1.2345", "0.1"))
    with pytest.raises(UserError, match="changed since"):
        build([evaluation], tmp_path / "card", "x", "apache-2.0")


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.evaluate"):
        build([tmp_path], tmp_path / "card", "x", "apache-2.0")


def test_patients_seen_in_training_are_the_first_line_and_nowhere_held_out(evaluation: Path, tmp_path: Path) -> None:
    words = "Seen in training, not held out: pretrain trained on 57 of 57 test patients."
    result, record = (read_json(evaluation / name, "") for name in ("evaluation.json", "run.json"))
    write_json(evaluation / "evaluation.json", result | {"seen": words})
    write_json(evaluation / "run.json", record | {"notes": {"seen": words, "held_out": False}})
    markdown, _, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert markdown.split("\n---\n", 1)[1].strip().splitlines()[0] == f"> **biomarker: {words}**"
    assert "Held-out patients" not in markdown and "held-out test" not in markdown
