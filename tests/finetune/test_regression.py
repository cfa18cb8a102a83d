"""The regression head: a quantity in units that hospitals pool, on a linear or a log scale."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sklearn.linear_model import LinearRegression

from finetune.heads.regression import Regression
from finetune.patients import patients_with_target
from foundation.data.cohort import Cohort
from foundation.errors import UserError

NAN = float("nan")
VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20)


def counted(values: list[float], **settings) -> Regression:
    head = Regression(4, "y", "U/l", **settings)
    counts = head.count({"y": np.array(values, dtype=float)})
    head.check(counts)
    head.set_counts(counts)
    return head


@given(VALUES, VALUES)
def test_moments_of_two_hospitals_add_up_to_those_of_all(one, other):
    head = Regression(4, "y", "U/l")
    apart = head.count({"y": np.array(one)}) + head.count({"y": np.array(other)})
    together = head.count({"y": np.array(one + other)})
    assert apart.patients == together.patients == len(one) + len(other)
    np.testing.assert_allclose(apart.moments["y"], together.moments["y"], rtol=1e-12, atol=1e-9)


def test_it_learns_in_units_of_the_training_patients_spread():
    head = counted([2.0, 4.0, 6.0, NAN])
    assert head.moments.mean == 4 and head.moments.spread == pytest.approx(np.std([2, 4, 6]))
    loss = head.loss(torch.tensor([[0.0], [1.0]]), {"y": torch.tensor([4.0, 4.0])})
    assert loss.item() == pytest.approx(0.5)
    assert head.estimate(torch.tensor([[0.0], [1.0]])).tolist() == pytest.approx([4, 4 + np.std([2, 4, 6])])


def test_a_count_is_learnt_on_a_log_scale_and_never_predicted_below_zero():
    head = counted([0.0, 9.0, 99.0], scale="log")
    assert head.moments.mean == pytest.approx(np.log1p([0, 9, 99]).mean())
    estimates = head.estimate(torch.tensor([[0.0], [-50.0]]))
    assert estimates.tolist() == pytest.approx([np.expm1(head.moments.mean), 0])
    with pytest.raises(UserError, match=r"task.head.scale: 'y' has values below 0, which log cannot take"):
        counted([1.0, -1.0], scale="log")


def test_what_does_not_vary_is_refused():
    for values in ([3.3, 3.3, 3.3], [1e6 + 0.1] * 7):
        with pytest.raises(UserError, match="'y' is the same in all"):
            counted(values)
    with pytest.raises(UserError, match="task.head.scale: found 'cubic'; choose linear or log"):
        Regression(4, "y", "U/l", scale="cubic")


def test_calibration_finds_the_line_of_many_patients_and_hardly_moves_for_few():
    rng = np.random.default_rng(0)
    score = rng.normal(size=4000)
    head = counted([-1.0, 1.0])
    target = {"y": torch.from_numpy(0.5 * score + 2 + rng.normal(0, 0.1, 4000)).float()}
    scores = torch.from_numpy(score)[:, None].float()
    head.calibrate(scores, target, (scores[:0], target))
    fitted = LinearRegression().fit(score[:, None], target["y"].numpy())
    assert head.line.tolist() == pytest.approx([fitted.coef_[0], fitted.intercept_], abs=0.02)
    few = counted([-1.0, 1.0])
    few.calibrate(scores[:2], {"y": target["y"][:2]}, (scores[:0], target))
    assert abs(few.line[1]) < 0.3


def test_experts_predict_what_they_explain():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5))
    y = 7 + 3 * features @ np.array([1.0, -1, 0.5, 0, 0]) + rng.normal(0, 0.3, 200)
    head = counted(y.tolist(), blocks={"a": 5})
    head.fit_experts(features, {"y": y}, [f"h{index % 4}" for index in range(200)])
    estimates = head.estimate(head(torch.from_numpy(features).float())).detach().numpy()
    assert np.corrcoef(estimates, y)[0, 1] > 0.98 and abs(estimates.mean() - 7) < 0.3


def test_answers_keep_to_their_schema_and_settings_rebuild_the_head():
    head = counted([2.0, 4.0, 7.0]).eval()
    again = Regression(**head.settings()).eval()
    again.load_state_dict(head.state_dict())
    fused = torch.randn(2, 4)
    answers = head.predict(head(fused))
    assert again.predict(again(fused)) == answers
    validator = Draft202012Validator(head.prediction_schema())
    validator.validate(answers[0])
    assert answers[0]["unit"] == "U/l"
    assert not validator.is_valid(answers[0] | {"unit": "mmol/l"})


def test_the_baseline_is_a_ridge_on_the_covariates():
    age = np.linspace(-2, 2, 50)
    estimates = Regression(4, "y", "U/l").baseline(
        pd.DataFrame({"age": age}), {"y": 5 + age}, pd.DataFrame({"age": [0.0, 1.0]})
    )
    assert estimates == pytest.approx([5, 6], abs=0.05)


@pytest.fixture
def copied(cohort: Cohort) -> Cohort:
    return Cohort(cohort.folder)


def test_genes_signatures_and_counts_follow_from_genomics(copied):
    patients = list(copied.patients.index)
    for name in ("expression.EGFR", "expression.EGFR+MKI67", "mutations.count"):
        patients_with_target(copied, patients, Regression(32, name, unit="log2_tpm"), ["report"], {})
    assert copied.patients["mutations.count"].notna().any()
    for patient, row in copied.patients.iterrows():
        raw = copied.sample(patient).get("genomics")
        if raw is None:
            assert np.isnan(row["expression.EGFR"]) and np.isnan(row["mutations.count"])
            continue
        values = dict(zip(copied.dictionary.genes, raw["expression"].astype(float), strict=True))
        np.testing.assert_equal(row["expression.EGFR"], values["EGFR"])
        np.testing.assert_equal(row["expression.EGFR+MKI67"], (values["EGFR"] + values["MKI67"]) / 2)


@pytest.mark.parametrize(
    ("target", "unit", "modalities", "hidden", "named"),
    [
        ("expression.NOGENE", "log2_tpm", ["report"], {}, "demo has no gene NOGENE"),
        ("expression.EGFR", "zscore", ["report"], {}, "task.head.unit: found 'zscore', but demo has .* in log2_tpm"),
        ("expression.EGFR", "log2_tpm", ["genomics"], {"mutations": ["EGFR"]}, "would be read off its own input"),
        ("mutations.count", "genes", ["genomics"], {}, "or leave genomics out of task.modalities"),
        ("shoe_size", "cm", ["report"], {}, "target 'shoe_size' is no label of demo"),
    ],
)
def test_a_target_that_cannot_be_is_one_line(copied, target, unit, modalities, hidden, named):
    with pytest.raises(UserError, match=named) as error:
        patients_with_target(copied, list(copied.patients.index), Regression(32, target, unit), modalities, hidden)
    assert "\n" not in str(error.value)


def test_a_hidden_gene_may_be_predicted_from_the_others(copied):
    head = Regression(32, "expression.EGFR", "log2_tpm")
    part = patients_with_target(
        copied, list(copied.patients.index), head, ["genomics", "report"], {"expression": ["EGFR"]}
    )
    place = copied.dictionary.genes.index("EGFR")
    shown = [part.sample(patient).get("genomics") for patient in part.patients]
    assert all(np.isnan(raw["expression"][place]) for raw in shown if raw is not None)
