"""Heads of every kind, from the command that trains them to the card: nothing on the way knows which head it is."""

import importlib
import json
import logging
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from jsonschema import Draft202012Validator

from finetune.evaluation import Evaluator
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report
from serve.card.check import check
from serve.client import to_request
from serve.predictor import Predictor

WIDTH = 32
LABELS = ["stage", "receptor", "amplified", "methylated", "cause"]


@pytest.fixture(scope="module")
def labelled(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cohort with more labels: a stage of three classes, and three that are not known of everybody."""
    folder = tmp_path_factory.mktemp("labelled") / "demo"
    shutil.copytree(small_cohort, folder)
    for path in folder.glob("*/patients.parquet"):
        table = pd.read_parquet(path)
        table["stage"] = table["biomarker"] + table["os_event"]
        place = np.arange(len(table))
        table["receptor"] = table["biomarker"].where(place % 3 > 0)
        table["amplified"] = table["os_event"].where(place % 4 > 0)
        table["methylated"] = table["biomarker"].where((place % 2 > 0) & (path.parent.name != "summit"))
        table["cause"] = table["os_event"] * (1 + table["biomarker"])
        table.to_parquet(path)
    content = json.loads((folder / "cohort.json").read_text())
    content["dictionary"]["labels"] += LABELS
    (folder / "cohort.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def pretrained(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dictionary = Cohort(labelled).dictionary
    torch.manual_seed(0)
    modalities = {
        "genomics": Genomics(WIDTH, dictionary.genes),
        "report": Report(WIDTH, layers=1),
        "record": Record(WIDTH, [column.model_dump() for column in dictionary.record]),
    }
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    MultimodalEncoder(modalities, WIDTH, fusion_layers=1).save_pretrained(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Runs a command in this process; returns the folder that it wrote."""

    def called(command: str, *arguments: str) -> Path:
        module = importlib.import_module(command)
        module = importlib.import_module(f"{command}.__main__") if hasattr(module, "__path__") else module
        output = tmp_path / command
        monkeypatch.setattr(sys, "argv", [f"python -m {command}", f"output={output}", *arguments])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        handlers = logging.root.handlers[:]
        try:
            module.main()
        finally:
            GlobalHydra.instance().clear()
            logging.root.handlers[:] = handlers
        return output

    return called


FEW_PATIENTS = ["support.patients=5", "support.outcome=3"]
# By case: settings of `python -m finetune`, outcomes that tables count, and metrics.
HEADS = {
    "experts of three classes": (
        ["method=experts", "task.name=stage", "task.head.target=stage", "+task.head.classes=[low,middle,high]"],
        ["low patients", "middle patients", "high patients"],
        "auc balanced_accuracy accuracy brier log_loss ece auc/low auc/middle auc/high",
    ),
    "experts of several labels": (
        [
            "method=experts",
            "task=glioma_markers",
            "task.modalities=[genomics,record]",
            "task.head.labels=[receptor,amplified]",
        ],
        [f"{label} {what}" for label in ("receptor", "amplified") for what in ("known", "positive")],
        "auc auprc brier ece "
        + " ".join(
            f"{metric}/{label}" for metric in ("auc", "auprc", "brier", "ece") for label in ("receptor", "amplified")
        ),
    ),
    "experts of a gene": (
        ["method=experts", "task=expression", "task.modalities=[report,record]"],
        [],
        "r2 mae pearson",
    ),
    "a count": (
        [
            "task=expression",
            "task.modalities=[report,record]",
            "task.head.target=mutations.count",
            "task.head.unit=genes",
            "+task.head.scale=log",
        ],
        [],
        "r2 mae pearson",
    ),
    "discrete hazards": (
        ["task=survival_discrete", "task.modalities=[report,record]", "frozen=true"],
        ["events"],
        "c_index",
    ),
    "competing risks": (
        ["task=competing_risks", "task.modalities=[report,record]", "frozen=true"],
        ["disease", "other"],
        "c_index c_index/disease c_index/other",
    ),
    "three classes": (
        ["task.name=stage", "task.head.target=stage", "+task.head.classes=[low,middle,high]"],
        ["low patients", "middle patients", "high patients"],
        "auc balanced_accuracy accuracy brier log_loss ece auc/low auc/middle auc/high",
    ),
    "multi-label": (
        [
            "task=glioma_markers",
            "task.modalities=[genomics,record]",
            "task.head.labels=[receptor,amplified,methylated]",
        ],
        [f"{label} {what}" for label in ("receptor", "amplified", "methylated") for what in ("known", "positive")],
        "auc auprc brier ece "
        + " ".join(
            f"{metric}/{label}"
            for metric in ("auc", "auprc", "brier", "ece")
            for label in ("receptor", "amplified", "methylated")
        ),
    ),
}


@pytest.mark.parametrize(("settings", "outcomes", "metrics"), HEADS.values(), ids=HEADS)
def test_a_head_trains_evaluates_serves_and_is_described(
    settings: list[str], outcomes: list[str], metrics: str, labelled: Path, pretrained: Path, run: Callable[..., Path]
):
    trained = run(
        "finetune", f"pretrained={pretrained}", f"data.folder={labelled}", "steps=4", "progress=false", *settings
    )
    evaluated = run("finetune.evaluate", f"run={trained}", "resamples=20", *FEW_PATIENTS)
    evaluation = json.loads((evaluated / "evaluation.json").read_text())
    assert list(evaluation["overall"]) == metrics.split()
    for group in (evaluation, *evaluation["by_hospital"].values(), *evaluation["by_modality"].values()):
        assert [name for name, value in group.items() if isinstance(value, int)] == ["n", *outcomes]
    defined = [interval for interval in evaluation["overall"].values() if interval["value"] is not None]
    assert all(interval["low"] <= interval["high"] for interval in defined)
    assert len(defined) > len(metrics.split()) / 2
    assert list(evaluation["baseline"]["gain"]) == metrics.split()[:1]
    reliability = evaluation["reliability"]
    assert set(reliability["by_hospital"]) == set(evaluation["by_hospital"])
    coverage = reliability["overall"]["coverage"]["value"]
    assert coverage is None if metrics.startswith("c_index") else 0 <= coverage <= 1
    assert 0 <= reliability["overall"]["out_of_distribution"]["value"] <= 1
    assert (evaluated / "evaluation.png").stat().st_size > 10_000
    assert f"| {' | '.join(['patients', *outcomes, 'metric'])} |" in (evaluated / "evaluation.md").read_text()

    bundle = run("serve.export", f"run={trained}") / "bundle"
    cohort = Cohort(labelled)
    predictor = Predictor.load(bundle)
    (answer,) = predictor.answer([to_request(cohort.sample(cohort.patients.index[1]), predictor.schema)])
    schema = Draft202012Validator(json.loads((bundle / "response.schema.json").read_text()))
    schema.validate(answer.model_dump())
    assert not schema.is_valid(answer.model_dump() | {"prediction": {"other": 1}})
    assert set(answer.reliability["out_of_distribution"]) == set(answer.modalities_used)
    assert answer.reliability["abstain"] == bool(answer.reliability["reasons"])
    assert not schema.is_valid(answer.model_dump() | {"reliability": None})

    folder = run("serve.card", f"evaluation={evaluated}", f"export={bundle.parent}")
    assert check(folder) == []
    card = (folder / "README.md").read_text()
    if metrics.startswith("auc"):
        assert f"| hospital | patients | {' | '.join(outcomes)} | AUC |" in card
        assert re.search(rf"\| AUC, {re.escape(metrics.split()[-1].partition('/')[2])} \| [\d–]", card)


def test_a_perfect_classifier_of_three_classes_evaluates_perfectly(
    labelled: Path, pretrained: Path, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    settings, *_ = HEADS["three classes"]
    trained = run(
        "finetune", f"pretrained={pretrained}", f"data.folder={labelled}", "steps=1", "progress=false", *settings
    )
    stage = Cohort(labelled).patients["stage"]
    monkeypatch.setattr(Evaluator, "estimates", lambda self, who, _: np.eye(3)[stage.loc[list(who)].to_numpy(int)])
    evaluation = json.loads(
        (run("finetune.evaluate", f"run={trained}", "resamples=20", *FEW_PATIENTS) / "evaluation.json").read_text()
    )
    assert evaluation["overall"]["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert evaluation["overall"]["accuracy"]["value"] == 1
    assert evaluation["overall"]["ece"]["value"] == 0
