"""Clusters: stability where there are some, and where there are none; and a page of a whole model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.module import FinetuneModule
from finetune.stratification.clusters import Clusters, _characteristics, stabilities
from finetune.stratification.embedding import embeddings
from finetune.trial.patients import read_scored
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.files import read_json, write_json


def test_clusters_that_are_there_come_out_of_every_resample():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = np.concatenate([centre + rng.normal(size=(30, 2)) for centre in centres])
    assert (stabilities(points, 3, 20, 0) > 0.99).all()
    assert stabilities(rng.normal(size=(90, 2)), 5, 20, 0).mean() < 0.7
    np.testing.assert_array_equal(stabilities(points, 2, 5, 1), stabilities(points, 2, 5, 1))


def with_inputs(cohort) -> list[str]:
    return list(PatientDataset(cohort, list(cohort.patients.index), ["genomics", "report", "record"]).patients)


@pytest.fixture
def run(build, evaluated, cohort, tmp_path: Path) -> Path:
    """An evaluation of an untrained model, whose first forty patients are of the training part."""
    model, folder, trained = build(), evaluated(), tmp_path / "model"
    trained.mkdir()
    save(FinetuneModule(model.encoder, model.head), OmegaConf.create(model.task), model.task["modalities"], trained)
    rows = pd.read_parquet(folder / "predictions.parquet")
    rows = rows[rows["patient"].isin(with_inputs(cohort))]
    some = rows["patient"].isin(rows["patient"].unique()[:40])
    rows.assign(split=np.where(some, "train", "test")).to_parquet(folder / "predictions.parquet", index=False)
    record = read_json(folder / "run.json", "")
    write_json(folder / "run.json", {**record, "config": {"run": str(trained)}})
    return folder


def test_clusters_are_made_of_training_patients_and_told_of_others(run, cohort):
    scored = read_scored(run, ["test"])
    page = Clusters(among=[2, 3], fixed_on=["train"], resamples=5, horizons=[400]).run(scored, 0)
    told = {name.removeprefix("clusters/") for name in page.figures}
    assert {"stability/2", "stability/3", "log_rank_p", "hospital_agreement"} <= told
    assert "made of 40 patients of train" in page.lead[0]
    tables = " ".join(table for part in page.sections for table in part["tables"])
    assert "age, mean (SD)" in tables and "sex: F" in tables and "os_days" not in tables
    # Who is judged changes no cluster: each patient's own stays the same among fewer others.
    fewer = type(scored)(scored.table.iloc[:20], scored.cohort, run, "test", "")
    again = Clusters(among=[2, 3], fixed_on=["train"], resamples=5, horizons=[400]).run(fewer, 0)
    assert again.figures["clusters/stability/2"] == page.figures["clusters/stability/2"]


def test_axes_follow_the_patients_who_fix_them(run, cohort):
    names = with_inputs(cohort)
    model = Path(read_json(run / "run.json", "")["config"]["run"])
    first, some = embeddings(model, cohort, names[:10], names[10:14])
    again, others = embeddings(model, cohort, names[:10], names[12:20])
    assert first.shape == (10, 32)
    np.testing.assert_allclose(first, again, atol=1e-5)
    np.testing.assert_allclose(some[2:], others[:2], atol=1e-5)
    with pytest.raises(UserError, match="1 patients have nothing that the model looks at"):
        embeddings(model, cohort, names[:10], [next(name for name in cohort.patients.index if name not in names)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"clusters": 1}, "strata.clusters: found 1; give a count from 2"),
        ({"clusters": 2.5}, "strata.clusters: found 2.5; give a count from 2"),
        ({"among": []}, r"strata.among: found \[\]; give a list"),
        ({"horizons": [float("nan")]}, "strata.horizons: found nan; give days"),
        ({"resamples": 1}, "strata.resamples: found 1"),
        ({"fixed_on": ["test"]}, "strata.fixed_on: test are judged, too"),
        ({"fixed_on": ["train"], "among": [50]}, "50 clusters of 40 patients"),
    ],
)
def test_settings_that_cannot_be_are_one_line(run, settings, words):
    with pytest.raises(UserError, match=words):
        Clusters(**settings).run(read_scored(run, ["test"]), 0)


def test_who_is_in_a_cluster_tells_no_share_of_few_patients(scored):
    n = len(scored.table)
    table = scored.table[["score"]].assign(hospital=["rare"] * 3 + ["a", "b"] * ((n - 3) // 2) + ["a"] * ((n - 3) % 2))
    few = type(scored)(table, scored.cohort, scored.run, "test", "")
    cluster = np.array([0, 1, 1] + [0, 0, 1, 1] * ((n - 3) // 4) + [0] * ((n - 3) % 4))
    html = _characteristics(few, cluster, ("one", "two"))["tables"][0]
    assert (
        html.count("hidden") >= 4
    )  # the rare hospital's two cells, and two of another by which totals would tell them


def test_the_mean_of_a_yes_or_no_tells_no_small_count(run):
    scored = read_scored(run, ["test"])
    n = len(scored.table)
    label = np.array([1.0] * 2 + [np.nan] + [0.0] * (n - 3))
    few = type(scored)(scored.table[["score"]].assign(biomarker=label), scored.cohort, scored.run, "test", "")
    cluster = np.array([0, 0, 1] + [0, 1] * ((n - 3) // 2) + [0] * ((n - 3) % 2))
    html = _characteristics(few, cluster, ("one", "two"))["tables"][0]
    assert "biomarker, mean" not in html and "biomarker: 1<" in html and "hidden" in html
