import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.run_record import RunRecord, write_json
from serve.card import build
from serve.facts import Facts

COHORT = {"name": "demo", "digest": "c0ffee" * 10, "synthetic": True, "hospitals": ["alder", "bir|ch", "cedar_7"]}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """A chain of runs down from an evaluation, as the commands write it."""
    folder, command = tmp_path / "pretrain", "python -m pretrain.federated"
    config = {"rounds": 4, "data": {"test_hospitals": ["cedar_7"]}}
    with RunRecord.open(folder, command, config, 0, [], COHORT) as record:
        found = {"patients": 57.0, "loss": 1.2345, "report_to_record/r@5": 0.4321, "report_to_record/chance": 0.0877}
        trained = {"patients": 9.0, "loss": 2.3456, "report_to_record/r@5": 0.9876, "report_to_record/chance": 0.5555}
        record.metrics["evaluation"] = {"alder": trained, "cedar_7": found}
        record.note("samples", {"alder": {"report": 321, "fusion": 321, "objective:alignment": 321}})
    (folder / "encoder").mkdir()
    modalities = {"report": {"type": "foundation.modalities.report.Report", "settings": {"width": 96}}}
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


def test_pretraining_tells_who_taught_what_and_retrieval_at_the_hospital_held_out_alone(
    evaluation: Path, tmp_path: Path
) -> None:
    markdown, html, _ = build([evaluation], tmp_path / "card", "consilium-demo", "apache-2.0")
    assert "| alder | 321 |" in markdown
    assert "| report | record | 0.432 | 0.088 |" in markdown
    assert "0.988" not in markdown
    assert "](evaluation-biomarker.png)" in markdown
    assert 'src="evaluation-biomarker.png"' in html


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
