"""On whom a model abstains, kept beside each prediction."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from finetune.evaluation import Evaluator
from finetune.reliability.module import Reliability
from finetune.results import write_predictions
from foundation.data.splits import split


def test_predictions_of_test_patients_tell_on_whom_the_model_abstains(build, cohort, tmp_path: Path) -> None:
    parts, model = split(cohort, ["lakeview", "summit"], 0.15, 0), build()
    names = list(model.encoder.modalities)
    blocks = [[name, block, size] for name in names for block, size in model.encoder.feature_sizes([name]).items()]
    model.reliability = Reliability(names, blocks, alternatives=2, coverage=0.8).eval()
    model.reliability.thresholds.fill_(0.55)  # both classes where the chance is nearly even
    torch.manual_seed(1)
    torch.nn.init.normal_(model.head.score[-1].weight, std=0.3)
    evaluator = Evaluator(model, cohort, parts.train, parts.test, resamples=5)
    told = evaluator.run()["reliability"]
    evaluator.predict("train", parts.train[:5])
    write_predictions(evaluator.predictions, tmp_path / "predictions.parquet")
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    judged = (table["split"] == "test") & (table["subset"] == "all")
    assert table.loc[judged, "abstained"].isin((0, 1)).all()
    assert table.loc[~judged, "abstained"].isna().all()
    assert set(table.loc[~judged, "split"]) == {"train", "test"}
    assert table.loc[judged, "abstained"].mean() == pytest.approx(told["overall"]["abstained"]["value"])
    by_hospital = table[judged].groupby("hospital")["abstained"].mean().to_dict()
    assert by_hospital == pytest.approx({one: row["abstained"]["value"] for one, row in told["by_hospital"].items()})
    assert 0 < table.loc[judged, "abstained"].mean() < 1


def test_a_model_that_cannot_abstain_tells_of_nobody(build, cohort, tmp_path: Path) -> None:
    parts = split(cohort, ["summit"], 0.15, 0)
    evaluator = Evaluator(build(), cohort, parts.train, parts.test, resamples=5)
    evaluator.run()
    write_predictions(evaluator.predictions, tmp_path / "predictions.parquet")
    assert "abstained" not in pd.read_parquet(tmp_path / "predictions.parquet")
