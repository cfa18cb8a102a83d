"""A gap is the best level's figure less the worst's, replicate by replicate; none where fewer than two are known."""

import numpy as np
import pytest

from finetune.figures import Resampling, figures
from finetune.gaps import gap
from finetune.statistics.binary import BinaryStatistics
from foundation.statistics.figure import Support

RESAMPLING = Resampling(Support(), 200, 0)


def shown(names: list[str], labels: np.ndarray, chances: np.ndarray):
    statistics = BinaryStatistics("y", "positive")
    return figures(statistics, {"y": labels}, chances, names, ["north"] * len(names), RESAMPLING)


@pytest.fixture
def levels():
    drawn = np.random.default_rng(0)
    labels = np.tile([0.0, 1.0], 40)
    one, two = (drawn.random(80) * 0.6 + 0.4 * labels for _ in range(2))
    two[:30] = 1 - two[:30]
    tables = {"F": shown([f"F{at}" for at in range(80)], labels, one)}
    tables["M"] = shown([f"M{at}" for at in range(80)], labels, two)
    return tables | {"unknown": shown(["U1", "U2"], labels[:2], one[:2])}


def test_the_gap_is_that_of_the_figures_and_its_interval_that_of_their_replicates(levels):
    between = gap(levels, "auc")
    assert (between["best"], between["worst"], between["n"]) == ("F", "M", 160)
    first, second = levels["F"].by_patient["auc"], levels["M"].by_patient["auc"]
    assert between["auc"]["value"] == levels["F"].figure("auc").value - levels["M"].figure("auc").value
    ends = np.percentile(first[1:] - second[1:], [2.5, 97.5])
    assert (between["auc"]["low"], between["auc"]["high"]) == pytest.approx(tuple(ends), abs=1e-12)
    assert between["auc"]["low"] > 0


def test_a_level_without_a_figure_is_no_end_of_a_gap(levels):
    assert gap({name: levels[name] for name in ("F", "unknown")}, "auc") is None
    assert gap({}, "auc") is None


def test_levels_that_are_alike_have_a_gap_of_nothing(levels):
    between = gap({"F": levels["F"], "again": levels["F"]}, "auc")
    assert {between["best"], between["worst"]} == {"F", "again"}
    assert between["auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
