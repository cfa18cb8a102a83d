import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from foundation.files import read_json, write_json
from serve.card.build import Inputs, build
from serve.card.document import line
from tests.serve.card.chains import chain


def card_of(evaluation: Path, *others: Path, name: str = "consilium-demo") -> tuple[str, str, dict[str, dict]]:
    """README, page and statements."""
    card = build(Inputs((evaluation, *others), name, "apache-2.0"), evaluation.parent / "card")
    return card.documents["README.md"], card.documents["card.html"], card.content["nodes"]


def test_results_stand_beside_baseline_and_new_hospital(evaluation: Path):
    readme, _, nodes = card_of(evaluation)
    assert "| AUC | 0.864 (0.793 – 0.929) | 0.551 (0.450 – 0.651) | 0.864 (0.701 – 0.953) |" in readme
    assert "| calibration error (ECE) | 0.041 | – | – (4 patients, of 10 that it takes) |" in readme
    assert "| ridge on report | 47 | 0.770 (0.660 – 0.880) | 0.810 (0.700 – 0.900) | 0.040 (-0.020 – 0.100) |" in readme
    assert "| hospital from report | 102 | 0.610 | 0.500 |" in readme
    assert "| shuffled pairs | 57 | 0.500 | – | – |" in readme
    assert nodes["result/0/overall/auc"] == {
        "value": 0.8642,
        "text": "0.864 (0.793 – 0.929)",
        "low": 0.7931,
        "high": 0.9287,
        "interval": "95 % percentile, patient bootstrap",
        "n": 57,
        "split": "test",
        "estimator": "rank, ties half",
        "sources": [
            ["../evaluation/evaluation.json", "overall", "auc"],
            ["../evaluation/evaluation.json", "n"],
            ["../evaluation/results.json", "figures", 0],
        ],
    }


def test_how_far_answers_can_be_relied_on_is_told_first_and_by_group(evaluation: Path):
    assert "No rule was saved by which biomarker abstains" in card_of(evaluation)[0]
    share = {
        "n": 57,
        "coverage": {"value": 0.8947, "low": 0.8123, "high": 0.9654},
        "abstained": {"value": 0.0702, "low": 0.0175, "high": 0.1404},
        "risk_answered": {"value": 0.0566, "low": 0.0, "high": 0.1321},
    }
    alone = {"n": 31, "abstained": {"value": 0.1613, "low": 0.0323, "high": 0.2903}}
    tables = {"overall": share, "by_hospital": {"cedar_7": share}, "by_modality": {"report alone": alone}}
    content = read_json(evaluation / "evaluation.json", "")
    write_json(evaluation / "evaluation.json", content | {"reliability": {"coverage": 0.9, **tables}})
    readme, _, nodes = card_of(evaluation)
    assert "No rule was saved" not in readme
    assert (
        "abstains where it is unsure or a patient is unlike those learnt from: for a share of "
        "0.070 (0.018 – 0.140) of these patients; of the others, the share of errors is 0.057 (0.000 – 0.132). "
        "Do not rely on what it leans to then."
    ) in readme
    assert "| cedar\\_7 | 57 | 0.895 (0.812 – 0.965) | 0.070 (0.018 – 0.140) | 0.057 (0.000 – 0.132) |" in readme
    assert "| report alone | 31 | – | 0.161 (0.032 – 0.290) | – |" in readme
    assert nodes["result/0/reliability/overall/abstained"]["n"] == 57
    assert nodes["result/0/reliability/overall/risk_answered"]["n"] == 53  # 4 of 57 it abstained from
    assert "as shares of patients; sets and intervals were made to hold the truth with a chance of 0.900:" in readme
    write_json(evaluation.parent / "finetune" / "task.json", {"name": "biomarker", "kind": "regression"})
    readme, _, _ = card_of(evaluation)
    assert "the mean absolute error is 0.057 (0.000 – 0.132)" in readme
    assert "as shares of patients; errors are mean absolute ones; sets and intervals" in readme


def test_results_are_told_by_hospital_subgroup_and_what_was_shown(evaluation: Path):
    readme, _, _ = card_of(evaluation)
    assert "| hospital | patients | events | AUC |\n| --- | --- | --- | --- |\n| cedar\\_7 | 57 | 21 | 0.864" in readme
    assert (
        "| sex | patients | events | AUC |\n| --- | --- | --- | --- |\n| F | 31 | 11 | 0.881 (0.780 – 0.970) |"
        in readme
    )
    assert "| M | 4 | – | – |" in readme
    assert "| report alone | 47 | 19 | 0.812 (0.700 – 0.900) |" in readme
    have = readme[readme.index("By what patients have:") :].split("\n\n")[1]
    assert have.splitlines()[2:] == ["| report | 47 | 19 | 0.812 (0.700 – 0.900) |"]


def test_persons_are_counted_once_not_once_a_step(evaluation: Path):
    readme, _, _ = card_of(evaluation)
    assert "| profiles converted from tpm to log2\\_tpm | 52 |" in readme
    assert "| alder | 2 | 41 | 2 | 2000 | 34 | 343434343434 |" in readme
    assert "| bir\\|ch | 1 | kept at the site | kept at the site | 1000 | – | kept at the site |" in readme
    assert "| the server | – | – | – | – | 99 | 999999999999 |" in readme
    assert "| record | 25 % | 75 % |\n" in readme
    assert "| all | 179 | 98 |" in readme
    assert "| age, median (quartiles) | 61.5 (50.25 – 70) |" in readme
    assert "| sex: F | 31 | 31 | 31 | 91 |\n| sex: M | 29 | 29 | 29 | fewer than five, or withheld |" in readme
    assert "| finetune | 3 | 2 | 1 |" in readme
    assert "| 321 |" not in readme


def test_privacy_is_told_with_its_assumptions(tmp_path: Path):
    readme, _, _ = card_of(chain(tmp_path, privacy={"epsilon": 7.125, "assumptions": ["a trusted server"]}))
    assert "| epsilon | 7.125 |\n| assumption | a trusted server |" in readme
    assert "No differential privacy" not in readme


def test_retrieval_is_told_of_the_hospital_held_out_alone(evaluation: Path):
    readme, _, _ = card_of(evaluation)
    assert "Held out, cedar\\_7: 59 patients, loss 1.234." in readme
    assert "| from | to | recall | chance |\n| --- | --- | --- | --- |\n| report | record | 0.432 | 0.088 |" in readme
    assert "0.988" not in readme


def test_pretraining_at_one_place_tells_the_same_and_no_federation(tmp_path: Path):
    readme, _, _ = card_of(chain(tmp_path, federated=False))
    assert "| training, alignment | 1.877 |\n| training loss, mean of the last epoch | 2.346 |" in readme
    assert "Held out, cedar\\_7: 59 patients, loss 1.234." in readme
    assert "| patients who trained it | 77 |\n| patients who validated it | 13 |" in readme
    assert "The federation" not in readme


def test_a_hospital_too_small_for_retrieval_is_still_named(tmp_path: Path):
    readme, _, _ = card_of(chain(tmp_path, at_held_out={"patients": 3.0}))
    assert "Held out, cedar\\_7: 3 patients, loss –." in readme
    assert "recall" not in readme


def test_settings_read_as_one_types_them(evaluation: Path):
    readme, _, _ = card_of(evaluation)
    (row,) = [line for line in readme.splitlines() if line.startswith("| report | Report |")]
    assert sorted(row.split("|")[3].strip().split(", ")) == ["drop rate 0", "dropout 0.25", "width 96"]


def test_metrics_with_a_number_in_their_name_are_spelt(tmp_path: Path):
    readme, _, nodes = card_of(chain(tmp_path, kind="survival"))
    assert "| AUC, 365 days | 0.041 | – |" in readme
    assert nodes["result/0/name/overall/auc/365_days"]["rule"] == "the key in words"


def test_metadata_holds_what_hugging_face_reads(evaluation: Path):
    readme, _, _ = card_of(evaluation)
    data = ModelCard(readme).data
    assert (data.license, data.library_name, data.language, data.model_name) == (
        "apache-2.0",
        "consilium",
        "en",
        "consilium-demo",
    )
    assert {"medical", "report", "synthetic-data"} <= set(data.tags)
    assert (data.datasets, data.metrics) == (["demo"], ["auc", "ece"])
    first = data.eval_results[0]
    assert (first.task_type, first.task_name, first.dataset_name) == ("classification", "biomarker", "demo (synthetic)")
    assert (first.metric_type, first.metric_name, first.metric_value) == ("auc", "AUC, held-out test", 0.8642)
    assert first.metric_args == {
        "low": 0.7931,
        "high": 0.9287,
        "patients": 57,
        "interval": "95 % percentile, patient bootstrap",
        "estimator": "rank, ties half",
    }


def test_front_matter_is_yaml_whatever_the_name(evaluation: Path):
    readme, _, _ = card_of(evaluation, name='no: [yes] "#')
    front = yaml.safe_load(readme.split("\n---\n", 1)[0].removeprefix("---\n"))
    assert front["model-index"][0]["name"] == 'no: [yes] "#'


def test_pictures_lie_beside_the_card(evaluation: Path, tmp_path: Path):
    """Two evaluations of one task keep a picture each."""
    arguments = [f"evaluation=[{evaluation},{evaluation}]", f"output={tmp_path / 'card'}"]
    subprocess.run([sys.executable, "-m", "serve.card", *arguments], check=True, capture_output=True, timeout=120)
    readme = (tmp_path / "card" / "README.md").read_text()
    for name in ("evaluation-biomarker.png", "evaluation-biomarker-2.png"):
        assert (tmp_path / "card" / name).read_bytes() == b"picture"
        assert f"by modalities, beside the baseline]({name})" in readme
    done = subprocess.run(
        [sys.executable, "-m", "serve.card", "check", str(tmp_path / "card")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


class Nesting(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.seen.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag != "meta":  # void, and written without a slash
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(evaluation: Path):
    _, html, _ = card_of(evaluation, evaluation, name="<b>&name")
    nesting = Nesting()
    nesting.feed(html)
    nesting.close()
    assert nesting.open == []
    assert len(set(nesting.ids)) == len(nesting.ids)
    assert nesting.seen.count("style") == nesting.seen.count("h1") == 1
    assert not {"script", "link", "b", "iframe", "img"} & set(nesting.seen)
    assert "http" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert len(html.encode()) < 2_000_000


def test_every_number_of_the_page_opens_its_source(evaluation: Path):
    _, html, _ = card_of(evaluation)
    opens = '<span data-node="result/0/overall/auc">0.864 (0.793 – 0.929)</span></summary><span class="source" '
    opened = html[html.index(opens) :].split("</details>", 1)[0]
    for part in ("evaluation.json#overall/auc", "57 patients", "test patients", "rank, ties half", "patient bootstrap"):
        assert part in opened


def test_tables_are_whole(evaluation: Path):
    """A blank line or a missing cell inside a table would end it as a table."""
    readme, html, _ = card_of(evaluation, evaluation)
    lines = readme.splitlines()
    for row, content in enumerate(lines):
        if content.startswith("| ---"):
            width = lines[row - 1].replace("\\|", "").count("|")
            end = next(at for at in range(row, len(lines) + 1) if at == len(lines) or not lines[at].startswith("|"))
            assert [each.replace("\\|", "").count("|") for each in lines[row:end]] == [width] * (end - row)
            assert end == len(lines) or lines[end] == ""
    assert html.count("<table>") == readme.count("\n| --- ")


def test_words_hold_no_number():
    with pytest.raises(ValueError, match="holds a number"):
        line("AUC of 0.9")


def test_patients_seen_in_training_are_the_first_line_and_nowhere_held_out(tmp_path: Path):
    words = "Seen in training, not held out: pretrain trained on 57 of 57 test patients."
    readme, _, _ = card_of(chain(tmp_path, seen=words))
    body = readme.split("\n---\n", 1)[1]
    assert body.strip().splitlines()[0] == f"> **biomarker: {words}**"
    assert "Held-out patients" not in body and "held-out" not in body.replace("not held out", "")


def test_content_is_plain(evaluation: Path):
    card = build(Inputs((evaluation,), "demo", "mit"), evaluation.parent / "card")
    path = evaluation.parent / "card.json"
    write_json(path, card.content)
    assert read_json(path, "") == json.loads(json.dumps(card.content))


def test_each_evaluation_has_a_picture_of_its_own(tmp_path: Path):
    evaluations = []
    for place, name in enumerate(("a", "a", "a-2")):
        evaluations.append(chain(tmp_path / str(place)))
        write_json(evaluations[-1].parent / "finetune" / "task.json", {"name": name, "kind": "classification"})
    card = build(Inputs(tuple(evaluations), "demo", "mit"), tmp_path / "card")
    assert list(card.pictures) == ["evaluation-a.png", "evaluation-a-2.png", "evaluation-a-2-2.png"]
