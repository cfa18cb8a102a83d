"""Trials, groups of patients and whatever else left figures join the card in one way, and failures are told by kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foundation.errors import UserError
from serve.card.build import Card, Inputs, build
from serve.card.chain import Evidence, Run
from serve.card.check import check
from serve.card.content.computing import core_hours, kilowatt_hours, total
from serve.card.content.failures import _hidden, kinds
from serve.card.graph import File, Graph
from tests.serve.card.chains import chain, figure, predictions, trial
from tests.serve.card.test_check import changed


def card_of(root: Path, *analyses: Path) -> Card:
    return build(Inputs((root / "evaluation",), "demo", "mit", analyses=analyses), root / "card")


def test_a_run_with_figures_joins_with_intervals_and_estimators(tmp_path: Path):
    chain(tmp_path)
    card = card_of(tmp_path, trial(tmp_path / "trial", tmp_path / "finetune"))
    readme, nodes = card.documents["README.md"], card.content["nodes"]
    assert "### A planned trial\n\nBy finetune.trial, in trial, on demo." in readme
    assert "| saving | 57 | 0.435 (0.327 – 0.532) | hazard ratio, Cox |" in readme
    assert "| patients, 365 days | 57 | 333.000 | hazard ratio, Cox |" in readme
    node = nodes["analysis/finetune.trial:trial/figure/adjustment/saving"]
    assert (node["value"], node["low"], node["n"], node["split"]) == (0.435, 0.327, 57, "test")
    assert "| trial | python -m finetune.trial | finished |" in readme


def test_an_undefined_figure_keeps_its_reason_and_what_was_seen_is_said_first(tmp_path: Path):
    chain(tmp_path)
    row = {"id": "biomarkers/GENE1/hazard_ratio", **figure(None), "reason": "4 events, of 10 that it takes"}
    folder = trial(tmp_path / "trial", tmp_path / "finetune", [row])
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({"seen": "Seen: 3 of 57.", **content}))
    card = card_of(tmp_path, folder)
    assert "> **Seen: 3 of 57.**" in card.documents["README.md"]
    assert "| GENE1, hazard ratio | – | – | – |" in card.documents["README.md"]
    name = "analysis/finetune.trial:trial/figure/biomarkers/GENE1/hazard_ratio"
    assert card.content["nodes"][name]["reason"] == "4 events, of 10 that it takes"


def test_one_analysis_may_be_named_without_a_list(copy: Path):
    """As `analyses=runs/trial` leaves it in the card's record."""
    changed(copy / "card" / "run.json", ["config", "analyses"], str(copy / "trial"))
    assert check(copy / "card") == []
    changed(copy / "card" / "run.json", ["config", "analyses"], 1)
    with pytest.raises(UserError, match="'config' is not as a run record has it"):
        check(copy / "card")


def test_two_runs_of_one_folder_name_are_told_apart(tmp_path: Path):
    chain(tmp_path)
    one, two = (trial(tmp_path / place / "trial", tmp_path / "finetune") for place in ("one", "two"))
    names = card_of(tmp_path, one, two).content["nodes"]
    assert {"analysis/finetune.trial:trial/title", "analysis/finetune.trial:trial~2/title"} <= names.keys()


def test_a_figure_may_be_called_like_what_stands_beside_another(tmp_path: Path):
    chain(tmp_path)
    facts = {"n": 57, "estimator": "mean"}
    ids = ["title", "seen", "saving", "name/saving", "n/saving", "estimator/saving", "figure/saving"]
    rows = [{"id": name, **figure(float(at)), **facts} for at, name in enumerate(ids)]
    nodes = card_of(tmp_path, trial(tmp_path / "trial", tmp_path / "finetune", rows)).content["nodes"]
    values = [nodes[f"analysis/finetune.trial:trial/figure/{name}"]["value"] for name in ids]
    assert values == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_what_is_no_analysis_of_the_model_is_refused(tmp_path: Path):
    chain(tmp_path)
    chain(tmp_path / "other")
    stranger = trial(tmp_path / "other" / "trial", tmp_path / "other" / "finetune")
    with pytest.raises(UserError, match="builds on no run that this card tells of"):
        card_of(tmp_path, stranger)
    with pytest.raises(UserError, match=r"no results\.json; give the output folder of python -m finetune\.trial"):
        card_of(tmp_path, tmp_path / "finetune")
    doubled = trial(tmp_path / "trial", tmp_path / "finetune", [{"id": "a", "value": 1.0}, {"id": "a", "value": 2.0}])
    with pytest.raises(UserError, match="'figures' is no list of figures with an id and a value"):
        card_of(tmp_path, doubled)


def test_failures_are_counted_by_kind(plain_chain: Path, tmp_path: Path):
    counts = {"patients": 5, "missed": 2, "false alarms": 1, "sure and wrong": 1}
    assert kinds(predictions()) == counts
    readme = build(Inputs((plain_chain / "evaluation",), "demo", "mit"), tmp_path / "card").documents["README.md"]
    assert "| all | positive | 5 | 2 | 1 | 1 |" in readme


def test_few_failures_of_persons_are_hidden(tmp_path: Path):
    chain(tmp_path, synthetic=False)
    readme = card_of(tmp_path).documents["README.md"]
    assert "| all | positive | 5 | hidden | hidden | hidden |" in readme


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ((40, 12, 9, 8), []),
        ((40, 4, 9, 8), ["missed"]),
        ((40, 0, 9, 0), []),
        ((40, 6, 6, 10), ["sure and wrong"]),  # 6 + 6 - 10 are wrong without being sure
    ],
)
def test_small_counts_of_failures_do_not_follow_from_others(counts: tuple[int, ...], hidden: list[str]):
    named = dict(zip(("patients", "missed", "false alarms", "sure and wrong"), counts, strict=True))
    assert [name for name, is_hidden in zip(named, _hidden(named, 5), strict=True) if is_hidden] == hidden


def test_a_risk_says_yes_where_its_chance_is_half_or_more():
    rows = {"label": [1.0, 0.0, 1.0, 0.0], "prediction": [-1.5, 0.0, 1.0, 7.0], "probability": [0.2, 0.95, 0.5, None]}
    assert kinds(pd.DataFrame(rows)) == {"patients": 3, "missed": 1, "false alarms": 1, "sure and wrong": 1}


@pytest.mark.parametrize("label", [[0.5, 1.7], [None, None]])
def test_quantities_and_unknown_labels_have_no_failures(label: list[float | None]):
    assert kinds(pd.DataFrame({"label": label, "prediction": [0.4, 1.2], "probability": [None, None]})) is None


@pytest.mark.parametrize(
    "part", [{"n": [57]}, {"estimator": ["x"]}, {"value": "0.4"}, {"low": {}}, {"reason": 3}, {"id": 3}]
)
def test_figures_of_another_form_are_refused_in_a_line(tmp_path: Path, part: dict[str, Any]):
    chain(tmp_path)
    folder = trial(tmp_path / "trial", tmp_path / "finetune", [{"id": "a", **figure(1.0), **part}])
    with pytest.raises(UserError, match="'figures' is no list of figures with an id and a value"):
        card_of(tmp_path, folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"title": {}, "figures": []}'], ids=["too deep", "no title"])
def test_results_of_another_form_are_refused_in_a_line(tmp_path: Path, content: str):
    chain(tmp_path)
    folder = trial(tmp_path / "trial", tmp_path / "finetune")
    (folder / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json: (not readable as JSON|'figures' is no list)"):
        card_of(tmp_path, folder)


def _spoilt(folder: Path, **columns: Any) -> Path:
    path = folder / "predictions.parquet"
    pd.DataFrame({**predictions().to_dict("list"), **columns}).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "predictions.parquet").write_bytes(b"PAR1"), "no predictions with patient, split"),
        (lambda folder: pd.DataFrame({"patient": ["C1"]}).to_parquet(folder / "predictions.parquet"), "no predictions"),
        (lambda folder: _spoilt(folder, label=["yes"] * 6), "'label' holds words, not numbers"),
    ],
)
def test_predictions_that_are_none_are_refused_in_a_line(tmp_path: Path, spoil: Callable[[Path], Any], words: str):
    spoil(chain(tmp_path))
    with pytest.raises(UserError, match=words):
        card_of(tmp_path)


def test_gaps_between_groups_stand_with_their_intervals(plain_chain: Path, tmp_path: Path):
    card = build(Inputs((plain_chain / "evaluation",), "demo", "mit"), tmp_path / "card")
    assert "| sex | AUC | F | M | 57 | 0.071 (-0.030 – 0.170) |" in card.documents["README.md"]


def test_energy_is_estimated_from_the_record(tmp_path: Path):
    hardware = {"cores": 4, "memory_gib": 10.0, "gpus": ["NVIDIA H100 80GB HBM3", "an unknown one"]}
    file = File(tmp_path / "run.json", "run.json", "", {"seconds": 7200.0, "hardware": hardware})
    run = Run(tmp_path, file, "finetune", "run/finetune")
    evidence = Evidence(Graph(tmp_path), (), (run,))
    hours, energy = core_hours(evidence, run), kilowatt_hours(evidence, run)
    assert hours is not None and hours.value == 8.0
    # Two hours of 4 cores at 12 W, 10 GiB at 0.4 W, a GPU of at most 700 W, and one of 200 W.
    assert energy is not None and energy.value == pytest.approx(2 * (4 * 12 + 10 * 0.4 + 700 + 200) / 1000)
    assert "estimated, not measured" in energy.rule
    assert (
        total(Evidence(Graph(tmp_path), (), ()), [Run(tmp_path, File(tmp_path, "", "", {}), "finetune", "a")]) is None
    )


def test_a_run_that_was_gone_on_with_tells_no_bound(tmp_path: Path):
    """Its record holds the seconds since then alone, so what it took before is nowhere."""
    content = {"seconds": 60.0, "hardware": {"cores": 4, "memory_gib": 10.0, "gpus": []}, "config": {"resume": False}}
    resumed = content | {"config": {"resume": True}}
    runs = [
        Run(tmp_path, File(tmp_path / name, name, "", one), "finetune", f"run/{name}")
        for name, one in (("whole", content), ("resumed", resumed))
    ]
    evidence = Evidence(Graph(tmp_path), (), tuple(runs))
    assert core_hours(evidence, runs[1]) is None and kilowatt_hours(evidence, runs[1]) is None
    assert total(evidence, runs[:1]) is not None and total(evidence, runs) is None
