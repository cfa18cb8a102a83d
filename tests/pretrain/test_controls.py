"""Negative controls: what they break, and the table that shows a run beside them."""

import json
from pathlib import Path

import numpy as np
import pytest

from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.shuffle import ShuffledPairs
from foundation.probes import probe_auc
from pretrain.assemble import load_cohort, trained_patients
from pretrain.controls.table import gains, interval, markdown
from pretrain.fit import build_module, fit_round
from tests import warm

MODALITIES = ["pathology", "genomics", "report"]


def test_shuffled_patients_keep_hospital_and_what_they_have_but_nothing_of_their_own(small_cohort: Path):
    cohort = Cohort(small_cohort)
    patients = cohort.patients.index.tolist()
    own, shuffled = PatientDataset(cohort, patients, MODALITIES), ShuffledPairs(cohort, patients, MODALITIES, seed=0)
    assert shuffled.patients == own.patients
    hospital = cohort.patients["hospital"]
    for (patient, name), giver in shuffled.givers.items():
        assert hospital[patient] == hospital[giver] and patient != giver
        assert cohort.patients.at[giver, name]
    for index in range(len(own)):
        mine, other = own[index]["sample"], shuffled[index]["sample"]
        assert mine.keys() == other.keys()
        if "genomics" in mine:
            assert not np.array_equal(mine["genomics"]["expression"], other["genomics"]["expression"])
    for name in MODALITIES:
        pairs = [(patient, giver) for (patient, kind), giver in shuffled.givers.items() if kind == name]
        assert sorted(patient for patient, _ in pairs) == sorted(giver for _, giver in pairs), "everybody gives once"
    again = ShuffledPairs(cohort, patients, MODALITIES, seed=0)
    assert again.givers == shuffled.givers != ShuffledPairs(cohort, patients, MODALITIES, seed=1).givers


def test_an_untrained_run_is_the_seeds_own(configure, tmp_path):
    cfg = configure("control=random")
    result = fit_round(cfg, ["riverside"], None, tmp_path, 5, 0, 5)
    start = build_module(cfg, None, 0, 1).state_dict()
    assert all(np.array_equal(value, start[name].numpy()) for name, value in result.weights.items())
    assert result.samples == {}


@pytest.mark.parametrize(("vocabulary", "hospitals"), [("shipped", []), ("training", ["lakeview", "riverside"])])
def test_an_untrained_run_has_seen_nobody_unless_it_learnt_their_words(configure, tmp_path, vocabulary, hospitals):
    cfg = configure("control=random", f"vocabulary={vocabulary}", "data.test_hospitals=[summit,northgate]")
    cohort, split = load_cohort(cfg)
    note = trained_patients(cfg, cohort, split, tmp_path)
    assert sorted(note["hospitals"]) == hospitals
    listed = json.loads((tmp_path / "trained_on.json").read_text())
    learnt_from = sorted([*split.train, *split.validation]) if hospitals else []
    assert sorted([*listed["train"], *listed["validation"]]) == learnt_from


def test_images_alone_teach_no_other_tower(configure, tmp_path):
    result = fit_round(configure("control=single"), ["riverside"], None, tmp_path, 2, 0, 2)
    assert set(result.samples) == {"pathology", "objective:two_views"}


def test_probes_read_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.5).astype(float)
    told = rng.normal(size=(200, 5)).astype(np.float32) + 2 * labels[:, None].astype(np.float32)
    noise = rng.normal(size=(200, 5)).astype(np.float32)
    labels[:20] = np.nan
    for values, low, high in ((told, 0.95, 1.0), (noise, 0.3, 0.7)):
        found = probe_auc((values[:120], labels[:120]), (values[120:], labels[120:]))
        assert set(found) == {"linear", "knn"} and all(low <= value <= high for value in found.values())
    assert probe_auc((told[:20], labels[:20]), (told, labels)) == {}


def test_intervals_and_gains_are_over_seeds():
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    figures = {
        "aligned": {0: {"x": 0.6}, 1: {"x": 0.7}},
        "random": {0: {"x": 0.5}, 1: {"x": 0.6}},
        "site alone": {0: {}},
    }
    assert gains(figures, "x")["random"] == pytest.approx((0.1, 0.1, 0.1))
    table = markdown(figures, ["x"], "A title")
    assert "| over random | 0.100 (0.100 to 0.100) |" in table
    assert "| site alone | – |" in table


@pytest.mark.process
def test_one_command_tabulates_a_run_beside_its_controls_and_goes_on_where_it_stopped(
    small_cohort: Path, tmp_path: Path
):
    settings = ["experiment=demo", "label=biomarker", "steps=2", "seeds=[0,1]"]
    settings += [
        "controls=[random,intra]",
        f"data.folder={small_cohort}",
        f"output={tmp_path / 'out'}",
        "data.batch_size=8",
    ]

    def run(*more: str) -> str:
        done = warm.run("pretrain.controls", [*settings, *more])
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run()
    table = (tmp_path / "out" / "controls.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and "(" in line] == [
        *("aligned", "random", "intra", "site alone"),
        *("over random", "over intra", "over site alone"),
    ]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (
        record["metrics"]["aligned"]["1"]["biomarker/linear_auc"]
        != record["metrics"]["random"]["1"]["biomarker/linear_auc"]
    )
    assert 0 <= record["metrics"]["site alone"]["0"]["site_accuracy/pathology"] <= 1
    assert (tmp_path / "out" / "controls.png").stat().st_size > 10_000
    (tmp_path / "out" / "intra" / "seed_1" / "figures.json").unlink()
    before = (tmp_path / "out" / "aligned" / "seed_0" / "figures.json").stat().st_mtime_ns
    run("resume=true")
    assert (tmp_path / "out" / "aligned" / "seed_0" / "figures.json").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "intra" / "seed_1" / "figures.json").exists()
    assert (tmp_path / "out" / "controls.md").read_text() == table
