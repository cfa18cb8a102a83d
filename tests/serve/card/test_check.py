"""Every edit of a card or of its records is caught and named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.card.check import check

AUC, BASE, TRIAL = "result/0/overall/auc", "result/0", "analysis/finetune.trial:trial"
HUB = ".eval_results/biomarker.yaml"
# An edit of a record: file, keys down to what is changed, what it becomes, and what a line of the check must name.
RECORDS: list[tuple[str, list[str | int], Any, str]] = [
    ("evaluation/evaluation.json", ["overall", "auc", "value"], 0.9642, f"{AUC}: value is 0.8642"),
    ("evaluation/evaluation.json", ["overall", "auc", "value"], 0.86421, f"{AUC}: value is 0.8642"),
    ("evaluation/evaluation.json", ["overall", "auc", "low"], 0.8931, f"{AUC}: low is 0.7931"),
    ("evaluation/evaluation.json", ["overall", "auc", "high"], 0.9999, f"{AUC}: high is 0.9287"),
    ("evaluation/evaluation.json", ["overall", "auc", "high"], None, f"{AUC}: high is 0.9287"),
    ("evaluation/evaluation.json", ["overall", "ece", "value"], 0.0042, f"{BASE}/overall/ece: value is 0.0411"),
    ("evaluation/evaluation.json", ["n"], 570, f"{BASE}/n: value is 57"),
    ("evaluation/evaluation.json", ["n"], "57", f"{BASE}/n: value is 57"),
    ("evaluation/evaluation.json", ["events"], 12, f"{BASE}/events: value is 21"),
    ("evaluation/evaluation.json", ["baseline", "auc", "value"], 0.4512, f"{BASE}/baseline/auc: value"),
    ("evaluation/evaluation.json", ["baseline", "auc", "low"], 0.1, f"{BASE}/baseline/auc: low"),
    ("evaluation/evaluation.json", ["new_hospital", "auc", "low"], 0.8, f"{BASE}/new_hospital/auc: low"),
    ("evaluation/evaluation.json", ["new_hospital", "ece", "reason"], "well", f"{BASE}/new_hospital/ece/reason: value"),
    ("evaluation/evaluation.json", ["by_hospital", "cedar_7", "n"], 75, f"{BASE}/by_hospital/cedar_7/n: value"),
    ("evaluation/evaluation.json", ["by_hospital", "cedar_7", "auc", "value"], 0.9, f"{BASE}/by_hospital/cedar_7/auc"),
    (
        "evaluation/evaluation.json",
        ["by_modality", "report alone", "auc", "value"],
        0.9,
        f"{BASE}/by_modality/report alone",
    ),
    ("evaluation/evaluation.json", ["by_group", "sex", "F", "auc", "value"], 0.9, f"{BASE}/by_group/sex/F/auc: value"),
    ("evaluation/evaluation.json", ["by_group", "sex", "F", "n"], 13, f"{BASE}/by_group/sex/F/n: value"),
    ("evaluation/evaluation.json", ["by_group", "sex", "M", "auc", "value"], 0.9, f"{BASE}/by_group/sex/M/auc: value"),
    ("evaluation/evaluation.json", ["by_group", "sex"], {}, f"{BASE}/by_group/sex/F/auc"),
    ("evaluation/evaluation.json", ["baselines", "ridge on report", "gain", "auc", "value"], 0.4, "gain/auc: value"),
    ("evaluation/evaluation.json", ["controls", "hospital from report", "value"], 0.51, "hospital from report: value"),
    ("evaluation/evaluation.json", ["controls", "hospital from report", "chance"], 0.6, "hospital from report/chance"),
    ("evaluation/results.json", ["figures", 0, "estimator"], "another", "results.json"),
    ("evaluation/results.json", ["figures", 0, "split"], "validation", "results.json"),
    ("evaluation/results.json", ["figures", 2, "interval"], "99 %", "results.json"),
    ("evaluation/run.json", ["data", "synthetic"], False, "evaluation/run.json"),
    ("evaluation/run.json", ["status"], "failed", "evaluation/run.json"),
    ("finetune/run.json", ["seed"], 1, "run/finetune/seed: value is 0"),
    ("finetune/run.json", ["seconds"], 12345.0, "run/finetune/seconds: value"),
    ("finetune/run.json", ["metrics", "validation/loss"], 0.1, "run/finetune/metrics/validation/loss: value"),
    (
        "finetune/run.json",
        ["notes", "outcomes", "train", "events"],
        93,
        "run/finetune/outcomes/train/events: value is 39",
    ),
    ("finetune/run.json", ["config", "steps"], 400, "run/finetune/setting/steps: value is 4"),
    ("finetune/task.json", ["name"], "survival", "result/0/task: value"),
    ("finetune/task.json", ["head", "settings", "target"], "other", f"{BASE}/outcome/target: value"),
    ("cohort/cohort.json", ["description"], "Real.", "run/cohort/description: value"),
    ("finetune/split.json", ["test"], [], "finetune/split.json"),
    ("pretrain/run.json", ["config", "rounds"], 200, "run/pretrain/config/rounds: value is 2"),
    ("pretrain/run.json", ["config", "data", "test_hospitals"], ["alder"], "pretrain/run.json"),
    (
        "pretrain/run.json",
        ["metrics", "evaluation", "cedar_7", "loss"],
        0.1,
        "evaluation/cedar_7/loss: value is 1.2345",
    ),
    ("pretrain/run.json", ["notes", "coverage", "record", "alder"], 0.5, "run/pretrain/coverage/record/alder: value"),
    ("pretrain/run.json", ["notes", "privacy", "epsilon"], 0.125, "run/pretrain/privacy/epsilon: value is 7.125"),
    ("pretrain/run.json", ["code", "version"], "9.9", "run/pretrain/version: value"),
    ("pretrain/run.json", ["hardware", "cores"], 999, "run/pretrain/cores: value"),
    ("pretrain/history.json", ["rounds", 0, "training", "alder", "bytes", "from_site"], 1, "pretrain/history.json"),
    ("pretrain/history.json", ["rounds", 1, "training"], {}, "run/pretrain/site/alder/rounds"),
    ("pretrain/ledger.jsonl.head", ["entries"], 9, "run/pretrain/server/ledger/entries: value is 99"),
    ("pretrain/sites/alder/ledger.jsonl.head", ["hash"], "00" * 32, "run/pretrain/site/alder/ledger/head: value"),
    (
        "pretrain/encoder/config.json",
        ["modalities", "report", "settings", "dropout"],
        0.1,
        "modality/report/dropout: value",
    ),
    (
        "cohort/run.json",
        ["notes", "found", "alder", "patients"],
        660,
        "run/cohort/notes/found/alder/patients: value is 66",
    ),
    ("cohort/run.json", ["notes", "characteristics", "all", "age", "value"], 16.5, "run/cohort/table/all/age: value"),
    ("cohort/cohort.json", ["provenance", 0, "count"], 5, "run/cohort/provenance/0/count: value is 52"),
    ("cohort/cohort.json", ["dictionary", "record", 0, "kind"], "text", "run/cohort/dictionary/record/0/kind: value"),
    ("evaluation/results.json", ["curves", "calibration", "observed", 0], 0.9, "curves/calibration/observed/0: value"),
    ("cohort/run.json", ["data", "digest"], "00" * 32, "cohort/run.json"),
    ("cohort/cohort.json", ["flow", 0, "patients"], 1830, "run/cohort/flow/0/patients: value is 183"),
    ("export/run.json", ["code", "version"], "9.9", "export/run.json"),
    ("evaluation/evaluation.json", ["gaps", "sex", "auc", "value"], 0.0011, f"{BASE}/gaps/sex/auc: value is 0.0711"),
    ("evaluation/evaluation.json", ["gaps", "sex", "auc", "low"], 0.01, f"{BASE}/gaps/sex/auc: low is -0.03"),
    ("evaluation/evaluation.json", ["gaps", "sex", "worst"], "F", f"{BASE}/gaps/sex/worst: value"),
    ("trial/results.json", ["figures", 0, "value"], 0.835, f"{TRIAL}/figure/adjustment/saving: value is 0.435"),
    ("trial/results.json", ["figures", 0, "high"], 0.9, f"{TRIAL}/figure/adjustment/saving: high is 0.532"),
    ("trial/results.json", ["figures", 1, "n"], 570, f"{TRIAL}/n/adjustment/patients/365_days: value is 57"),
    ("trial/results.json", ["figures", 0, "estimator"], "a guess", f"{TRIAL}/estimator/adjustment/saving: value"),
    ("trial/results.json", ["title"], "A proven trial", f"{TRIAL}/title: value"),
    ("trial/run.json", ["data", "name"], "another", "trial/run.json"),
]
# An edit of a statement in card.json: its id, the part, what it becomes.
STATEMENTS: list[tuple[str, str, Any]] = [
    (AUC, "value", 0.9642),
    (AUC, "low", 0.8931),
    (AUC, "high", None),
    (AUC, "n", 570),
    (AUC, "split", "validation"),
    (AUC, "estimator", "another"),
    (AUC, "interval", "99 % of all"),
    (AUC, "text", "0.964 (0.893 – 0.999)"),
    (AUC, "unit", "percent"),
    (AUC, "sources", [["../evaluation/evaluation.json", "baseline", "auc"]]),
    (AUC, "sources", [["../evaluation/evaluation.json", "no", "where"]]),
    (AUC, "sources", []),
    (f"{BASE}/n", "unit", "slides"),
    (f"{BASE}/by_group/sex/F/auc", "value", 0.9),
    (f"{BASE}/by_group/sex/M/auc", "reason", "no reason"),
    (f"{BASE}/by_group/sex/F/n", "value", 13),
    ("run/cohort/total/patients", "value", 1790),
    ("run/cohort/total/patients", "rule", "a guess"),
    ("run/pretrain/site/alder/persons/train", "value", 410),
    (f"{BASE}/sample_size/needed", "value", 57),
    (f"{BASE}/sample_size/width", "rule", "a guess"),
    ("bundle/unchanged", "value", False),
    (f"{BASE}/failures/all/positive/missed", "value", 0),
    (f"{BASE}/failures/all/positive/missed", "rule", "a guess"),
    ("training/energy", "value", 9.5),
    ("run/finetune/energy", "unit", "Wh"),
    (f"{TRIAL}/figure/adjustment/saving", "value", 0.835),
    (f"{TRIAL}/figure/adjustment/saving", "split", "train"),
    ("judgement/intended_use", "value", "Anything."),
    ("model/license", "value", "proprietary"),
]
# An edit of a document: its name, what stands there, what it becomes, and what a line of the check must name.
DOCUMENTS: list[tuple[str, str, str, str]] = [
    ("README.md", "| AUC | 0.864 (0.793", "| AUC | 0.964 (0.793", AUC),
    ("README.md", "| AUC | 0.864 (0.793 – 0.929)", "| AUC | 0.864", AUC),
    ("README.md", "| F | 31 | 11 |", "| F | 13 | 11 |", f"{BASE}/by_group/sex/F/n"),
    ("README.md", "| F | 31 |", "| M | 31 |", f"{BASE}/name/by_group/sex/F"),
    ("README.md", " events.\n", " events, 99.\n", "prints 99, which is no statement"),
    ("README.md", "Not a medical device:", "A medical device:", "README.md: line"),
    ("README.md", "value: 0.8642", "value: 0.9642", "README.md: line"),
    ("README.md", "license: mit", "license: gpl", "README.md: line"),
    ("README.md", "| Who paid,", "| Who did not pay,", "README.md: line"),
    ("card.html", ">0.864 (0.793 – 0.929)<", ">0.964 (0.793 – 0.929)<", AUC),
    ("card.html", f'data-node="{AUC}"', 'data-node="result/0/nowhere"', "result/0/nowhere"),
    ("card.html", "57 patients; test patients", "570 patients; test patients", "card.html: line"),
    ("card.html", "Held-out patients of", "Held-out 99 patients of", "prints 99, which is no statement"),
    ("chai.xml", '"lower": 0.7931', '"lower": 0.8931', "chai.xml: line"),
    ("chai.xml", '"n": 57', '"n": 570', "chai.xml: line"),
    ("chai.xml", '"kind": "estimate_ci"', '"kind": "guess"', "biomarker: AUC is none of a number"),
    ("chai.xml", "<ModelName>demo</ModelName>", "", "BasicInfo/ModelName is missing"),
    ("chai.xml", "<ModelName>demo</ModelName>", "<ModelName />", "BasicInfo/ModelName is empty"),
    ("chai.xml", "<Bibliography />", "<Bibliography /><Score>1</Score>", "Score is no element of CHAI"),
    ("chai.xml", "</AppliedModelCard>", "", "chai.xml: no XML"),
    ("bom.json", '"0.7931"', '"0.8931"', "bom.json: line"),
    ("bom.json", '"version": "90b0751597d1"', '"version": "1"', "bom.json: line"),
    ("card.html", "Not a medical device:", "A medical device:", "card.html: line"),
    (HUB, "value: 0.8642", "value: 0.9642", f"{HUB}: line"),
    (HUB, "0.7931 to", "0.8931 to", f"{HUB}: line"),
    (HUB, "n = 57", "n = 570", f"{HUB}: line"),
    (HUB, "held-out test", "seen test", f"{HUB}: line"),
    (HUB, "id: demo", "id: bench/mark/one", "no name that the Hub allows"),
    (HUB, "task_id: biomarker-auc", "kind: biomarker-auc", "no list of results"),
    (HUB, "- dataset:", "-  [dataset:", "no YAML"),
]


def changed(path: Path, keys: list[str | int], value: Any) -> None:
    content = json.loads(path.read_text())
    inside = content
    for key in keys[:-1]:
        inside = inside[key]
    assert inside[keys[-1]] != value or isinstance(value, str)
    inside[keys[-1]] = value
    path.write_text(json.dumps(content, indent=2))


def named(problems: list[str], name: str) -> bool:
    return any(name in problem for problem in problems)


def test_there_are_enough_mutations():
    assert len(RECORDS) + len(STATEMENTS) + len(DOCUMENTS) >= 80


@pytest.mark.parametrize(("file", "keys", "value", "name"), RECORDS, ids=lambda value: str(value)[:50])
def test_an_edit_of_a_record_is_named(copy: Path, file: str, keys: list[str | int], value: Any, name: str):
    changed(copy / file, keys, value)
    problems = check(copy / "card")
    assert named(problems, name), problems
    assert named(problems, file), problems


@pytest.mark.parametrize(("node", "part", "value"), STATEMENTS, ids=lambda value: str(value)[:50])
def test_an_edit_of_a_statement_is_named(copy: Path, node: str, part: str, value: Any):
    changed(
        copy / "card" / "card.json",
        ["nodes", node],
        json.loads((copy / "card" / "card.json").read_text())["nodes"][node] | {part: value},
    )
    problems = check(copy / "card")
    assert any(problem.startswith(f"{node}:") for problem in problems), problems


@pytest.mark.parametrize(("file", "before", "after", "name"), DOCUMENTS, ids=lambda value: str(value)[:30])
def test_an_edit_of_a_document_is_named(copy: Path, file: str, before: str, after: str, name: str):
    path = copy / "card" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    problems = check(copy / "card")
    assert any(problem.startswith(f"{file}:") and name in problem for problem in problems), problems


def remove_statement(card: Path) -> None:
    content = json.loads((card / "card.json").read_text())
    del content["nodes"][AUC]
    (card / "card.json").write_text(json.dumps(content))


def invent_statement(card: Path) -> None:
    content = json.loads((card / "card.json").read_text())
    content["nodes"]["result/0/overall/f1"] = content["nodes"][AUC]
    (card / "card.json").write_text(json.dumps(content))


def other_digest(card: Path) -> None:
    content = json.loads((card / "card.json").read_text())
    content["files"]["../evaluation/evaluation.json"] = "00" * 32
    (card / "card.json").write_text(json.dumps(content))


def unbind(card: Path) -> None:
    content = json.loads((card / "card.json").read_text())
    content["readme"] = [binding for binding in content["readme"] if binding[2] != AUC]
    (card / "card.json").write_text(json.dumps(content))


def other_name(card: Path) -> None:
    changed(card / "run.json", ["config", "name"], "better")


def other_answer(card: Path) -> None:
    (card.parent / "card.yaml").write_text("intended_use: Anything.\n")


OTHERS: dict[Callable[[Path], None], str] = {
    remove_statement: f"{AUC}: missing in card.json",
    invent_statement: "result/0/overall/f1: no record says it",
    other_digest: "../evaluation/evaluation.json: sha256",
    unbind: "which is no statement of the card",
    other_name: 'model/name: value is "demo"',
    other_answer: "judgement/intended_use: value is",
    lambda card: (card.parent / "evaluation" / "predictions.parquet").write_bytes(
        b"other"
    ): "../evaluation/predictions.parquet: sha256",
    lambda card: (card / "README.md").unlink(): "README.md: missing",
    lambda card: (card / "card.html").unlink(): "card.html: missing",
    lambda card: (card / "bom.json").unlink(): "bom.json: missing",
    lambda card: (card / "chai.xml").unlink(): "chai.xml: missing",
    lambda card: (card / HUB).unlink(): f"{HUB}: missing",
    lambda card: (card / ".eval_results" / "other.yaml").write_text("[]"): "other.yaml: results of no evaluation",
    lambda card: (card / "evaluation-biomarker.png").write_bytes(
        b"other"
    ): "evaluation-biomarker.png: missing, or another",
    lambda card: (card.parent / "card.yaml").unlink(): "../card.yaml: missing",
    lambda card: (card.parent / "pretrain" / "history.json").unlink(): "../pretrain/history.json: missing",
    lambda card: (card.parent / "pretrain" / "run.json").unlink(): "../pretrain/run.json: missing",
    lambda card: (card.parent / "evaluation" / "evaluation.json").write_text(
        "{"
    ): "../evaluation/evaluation.json: sha256",
}


@pytest.mark.parametrize(
    ("edit", "name"), OTHERS.items(), ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_another_edit_is_named(copy: Path, edit: Callable[[Path], None], name: str):
    edit(copy / "card")
    problems = check(copy / "card")
    assert named(problems, name), problems
