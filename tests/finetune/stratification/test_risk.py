"""Risk groups of a run: thresholds come of training patients alone."""

import json
import re

import hydra
import numpy as np
import pandas as pd
import pytest

from finetune.stratification.__main__ import main
from finetune.stratification.risk import RiskGroups, _by_hospital
from finetune.trial.patients import read_scored
from foundation.errors import UserError


@pytest.fixture
def split_run(evaluated):
    """The run with the first forty patients in training."""
    folder = evaluated()
    rows = pd.read_parquet(folder / "predictions.parquet")
    train = rows["patient"].isin(rows["patient"].unique()[:40])
    rows.assign(split=np.where(train, "train", "test")).to_parquet(folder / "predictions.parquet", index=False)
    return folder


def test_thresholds_are_quantiles_of_training_patients_scores(split_run):
    scored = read_scored(split_run, ["test"])
    page = RiskGroups(fixed_on=["train"], horizons=[400]).run(scored, 0)
    cuts = np.quantile(read_scored(split_run, ["train"]).score, [1 / 3, 2 / 3])
    assert f"{cuts[0]:.3f}, {cuts[1]:.3f}" in page.lead[1]
    given = RiskGroups(cuts=cuts.tolist(), horizons=[400]).run(scored, 0)
    assert given.figures == page.figures
    moved = scored.table.assign(score=scored.score + 100)  # who is judged changes no threshold
    assert (
        RiskGroups(fixed_on=["train"]).run(type(scored)(moved, scored.cohort, split_run, "test", ""), 0).lead[1]
        == page.lead[1]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": 1}, "strata.groups: found 1; give a count from 2"),
        ({"horizons": [-5]}, "strata.horizons: found -5; give days, above 0"),
        ({"horizons": []}, r"strata.horizons: found \[\]; give a list of at least one"),
        ({"horizons": [365, 365]}, "strata.horizons: names 365 twice"),
        ({"fixed_on": []}, r"strata.fixed_on: found \[\]; give a list"),
        ({"cuts": []}, r"strata.cuts: found \[\]; give a list"),
        ({"cuts": [1.0, 0.0]}, "strata.cuts: found"),
        ({"cuts": ["low"]}, "strata.cuts: found"),
        ({"cuts": [float("nan")]}, "strata.cuts: found"),
        ({"fixed_on": ["test"]}, "strata.fixed_on: test are judged, too"),
        ({"fixed_on": ["validation"]}, "the run has no predictions of 'validation'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(split_run, settings, words):
    with pytest.raises(UserError, match=words):
        RiskGroups(**settings).run(read_scored(split_run, ["test"]), 0)


def test_small_groups_of_a_hospital_are_hidden_and_what_gives_them_away(scored):
    known = scored.known("os_event", "os_days")
    n = len(known.table)
    where = np.array(["a"] * 30 + ["b"] * (n - 30))
    known = type(known)(known.table.assign(hospital=where), known.cohort, known.run, "test", "")
    event = np.ones(n)
    event[:3] = 0
    event[30 : 30 + (n - 30) // 2] = 0
    group = np.zeros(n)
    group[15:30] = group[-((n - 30) // 3) :] = 1
    html = _by_hospital(known, event, np.arange(1.0, n + 1), group, ("low", "high"))["tables"][0]
    rows = [re.sub("<[^>]*>", " ", row).split() for row in html.split("<tr")[2:]]
    cells = {row[row.index(name)]: row[row.index(name) + 1 :] for row in rows for name in ("a", "b") if name in row}
    assert cells["a"][0] == "hidden" and cells["a"][-1] == "hidden"  # three of hospital a, and its test, stay away
    assert cells["b"][0] == "hidden"  # else all of the group less hospital b's would tell them


def test_the_command_writes_page_results_and_record(split_run, tmp_path):
    output = tmp_path / "out"
    settings = [f"run={split_run}", f"output={output}", "strata.fixed_on=[train]", "strata.groups=2"]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        main.__wrapped__(hydra.compose("stratification", settings))
    results = json.loads((output / "results.json").read_text())
    assert {"risk/log_rank_p", "risk/hazard_ratio/high"} < {row["id"] for row in results["figures"]}
    assert json.loads((output / "run.json").read_text())["command"] == "python -m finetune.stratification"
    assert "Survival by risk group" in (output / "index.html").read_text()
