"""Genes told from slides: what is there comes out, nothing where nothing is, and the fit is scikit-learn's."""

import numpy as np
import pytest
from scipy.stats import pearsonr, permutation_test
from sklearn.linear_model import Ridge

from finetune.biomarkers.expression import FromSlides, _ridges, predict
from finetune.biomarkers.permutation import correlation_test
from finetune.experts.ridge import PENALTIES
from foundation.errors import UserError
from tests.finetune.biomarkers.conftest import DRIVER


def test_correlation_and_p_are_those_of_scipy_at_one_hospital():
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    tested, correlation = correlation_test(measured, predicted, ["a"] * 7, 20000, 0)
    for place in range(2):
        x, y = measured[:, place], predicted[:, place]
        assert correlation[place] == pytest.approx(pearsonr(x, y).statistic)
        exact = permutation_test(
            (x,),
            lambda drawn, y=y: drawn @ (y - y.mean()),
            permutation_type="pairings",
            alternative="greater",
            n_resamples=np.inf,
        )
        assert tested.p[place] == pytest.approx(exact.pvalue, abs=0.015)


def test_what_differs_between_hospitals_alone_is_no_correlation():
    rng = np.random.default_rng(1)
    hospitals = np.repeat(["a", "b", "c"], 30)
    shift = np.repeat([0.0, 3.0, 6.0], 30)[:, None]
    measured, predicted = shift + rng.normal(size=(90, 3)), shift + rng.normal(size=(90, 3))
    predicted[:, 2] += measured[:, 2]
    measured[5, 2] = np.nan
    tested, correlation = correlation_test(measured, predicted, hospitals, 1999, 0)
    assert (np.abs(correlation[:2]) < 0.3).all() and (tested.p[:2] > 0.01).all()
    assert correlation[2] > 0.5 and tested.q[2] < 0.01


def test_unrelated_predictions_survive_at_the_nominal_rate():
    """400 data sets of ten genes without any relation: any survives in 10 % of them, SE 1.5 %."""
    rng = np.random.default_rng(2)
    alarms = []
    for seed in range(400):
        common = rng.normal(size=(30, 1))  # genes go together, and so do their predictions
        measured, predicted = rng.normal(size=(30, 10)) + common, rng.normal(size=(30, 10)) + rng.normal(size=(30, 1))
        tested, _ = correlation_test(measured, predicted, np.repeat(["a", "b"], 15), 199, seed)
        alarms.append(tested.discoveries(0.1).any())
    assert 0.03 < np.mean(alarms) < 0.15


def test_ridges_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    design, values, asked = rng.normal(size=(30, 5)), rng.normal(size=(30, 4)), rng.normal(size=(6, 5))
    for told, penalty in zip(_ridges(design, values, asked), PENALTIES, strict=True):
        np.testing.assert_allclose(told, Ridge(alpha=penalty).fit(design, values).predict(asked), atol=1e-10)


def test_each_target_is_told_with_its_own_penalty():
    rng = np.random.default_rng(4)
    known, asked = rng.normal(size=(120, 6)), rng.normal(size=(50, 6))
    targets = np.column_stack([3 * known[:, 0], rng.normal(size=120)])
    targets[:10, 1] = np.nan
    told = predict(known, targets, [f"h{place % 4}" for place in range(120)], asked)
    assert np.corrcoef(told[:, 0], asked[:, 0])[0, 1] > 0.99
    assert told[:, 1].std() < 0.3 * told[:, 0].std()


@pytest.mark.parametrize("kind", ["experts", "steps"])
def test_the_gene_that_shows_in_tiles_survives_alone(trained, kind, tmp_path):
    scored = trained(kind)
    (tmp_path / "known.csv").write_text(f"gene\n{DRIVER}\n")
    page = FromSlides(known=str(tmp_path / "known.csv"), permutations=999, top=5).run(scored, 0)
    table = page.files["expression"]
    assert table["gene"].iloc[0] == DRIVER and table["known"].iloc[0] == "known"
    assert bool(table["survives"].iloc[0]) and table["survives"].sum() <= 3
    assert page.figures["expression/known_auc"].value == 1.0
    assert page.figures["expression/permuted"].value < 0.5


def test_settings_and_channels_that_cannot_be_are_one_line(trained):
    with pytest.raises(UserError, match="evidence.channels: found 'methylation'"):
        FromSlides(channels=["methylation"])
    with pytest.raises(UserError, match="0 training patients and 0 judged ones have H&E and copy_number"):
        FromSlides(channels=["copy_number"]).run(trained("experts"), 0)
