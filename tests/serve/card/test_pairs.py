"""Two models are compared on the patients whom both answered, against SciPy as the oracle."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from serve.card.build import Inputs
from serve.card.diff import Side, diff
from serve.card.pairs import pairs
from tests.serve.card.chains import chain
from tests.serve.card.conftest import written


def answers(seed: int, start: int = 0, blur: float = 0.3) -> pd.DataFrame:
    """Eighty patients, half of them with the label."""
    label = np.tile([0.0, 1.0], 40)
    chance = np.clip(0.5 + (label - 0.5) * 0.4 + np.random.default_rng(seed).normal(0, blur, 80), 0.01, 0.99)
    names = [f"P{number:03}" for number in range(start, start + 80)]
    rows = {"patient": names, "hospital": "north", "split": "test", "subset": "all", "output": "positive"}
    return pd.DataFrame({**rows, "label": label, "prediction": (chance >= 0.5).astype(float), "probability": chance})


def area(rows: pd.DataFrame) -> float:
    chance, label = rows["probability"], rows["label"]
    return float(
        stats.mannwhitneyu(chance[label == 1], chance[label == 0]).statistic / (label.sum() * (1 - label).sum())
    )


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one.parquet", tmp_path / "two.parquet"
    for path, rows in zip(paths, (answers(0), answers(1, start=10, blur=0.1)), strict=True):
        spare = rows.assign(subset="report alone", probability=0.5)
        pd.concat([rows, spare, rows.assign(split="train", probability=0.1)]).to_parquet(path)
    return paths


def test_both_are_judged_on_common_patients(tables: tuple[Path, Path]):
    rows, left_out = pairs(*tables)
    assert left_out == "20 test patients stand in one of the two alone, and 0 have another label or none"
    one, two = answers(0).iloc[10:], answers(1, start=10, blur=0.1).iloc[:70]
    ranked, squared = rows
    assert (ranked.output, ranked.n) == ("positive", 70)
    assert ranked.before == pytest.approx(area(one), abs=1e-12)
    assert ranked.after == pytest.approx(area(two), abs=1e-12)
    assert ranked.difference.value == pytest.approx(area(two) - area(one), abs=1e-12)
    assert squared.before == pytest.approx(((one["probability"] - one["label"]) ** 2).mean(), abs=1e-12)
    assert squared.difference.low is not None and squared.difference.high is not None
    assert squared.difference.low < squared.difference.value < squared.difference.high < 0


def test_a_model_does_not_differ_from_itself(tables: tuple[Path, Path]):
    rows, left_out = pairs(tables[0], tables[0])
    assert left_out.startswith("0 test patients")
    assert [(row.difference.value, row.difference.low, row.difference.high) for row in rows] == [(0.0, 0.0, 0.0)] * 2


def test_patients_with_another_label_are_left_out(tables: tuple[Path, Path]):
    table = pd.read_parquet(tables[1])
    table.loc[table["patient"] == "P015", "label"] = 0.0
    table.loc[table["patient"] == "P017", "label"] = None
    table.to_parquet(tables[1])
    rows, left_out = pairs(*tables)
    assert left_out.endswith("2 have another label or none") and {row.n for row in rows} == {68}


def test_quantities_are_judged_by_their_error(tmp_path: Path):
    table = answers(0).assign(label=lambda rows: rows["probability"] * 3, prediction=1.0, probability=np.nan)
    table.to_parquet(tmp_path / "one.parquet")
    table.assign(prediction=table["label"] + 0.25).to_parquet(tmp_path / "two.parquet")
    (row,), _ = pairs(tmp_path / "one.parquet", tmp_path / "two.parquet")
    assert (row.measure, row.n) == ("mean absolute error", 80)
    assert (row.before, row.after) == pytest.approx((float((1 - table["label"]).abs().mean()), 0.25))


def test_few_patients_give_no_figure(tmp_path: Path):
    answers(0).iloc[:9].to_parquet(tmp_path / "one.parquet")
    assert pairs(tmp_path / "one.parquet", tmp_path / "one.parquet")[0] == []


def test_the_release_note_tells_the_paired_difference(tmp_path: Path, tables: tuple[Path, Path]):
    cards = []
    for name, table in zip(("one", "two"), tables, strict=True):
        evaluation = chain(tmp_path / name)
        (evaluation / "predictions.parquet").write_bytes(table.read_bytes())
        cards.append(written(Inputs((evaluation,), "demo", "mit"), tmp_path / name / "card"))
    text = diff(*map(Side.read, cards))
    gain = pairs(*tables)[0][0]
    shown = f"{gain.difference.value:.3f} ({gain.difference.low:.3f} – {gain.difference.high:.3f})"
    assert (
        f"| positive | AUROC, Mann–Whitney, ties half | 70 | {gain.before:.3f} | {gain.after:.3f} | {shown} |" in text
    )
    # Predictions that are no longer those which the card knows compare nothing.
    (tmp_path / "two" / "evaluation" / "predictions.parquet").write_bytes(tables[0].read_bytes())
    assert "on the same patients" not in diff(*map(Side.read, cards))
