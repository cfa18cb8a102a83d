"""The multi-label head: unknown labels teach nothing, move no metric, and spoil no calibration."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from torch.nn import functional

from finetune.fit import fit
from finetune.heads.multilabel import MultiLabel
from finetune.metrics import binary_metrics
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from tests.finetune.test_private import configured

NAN = float("nan")
LABELS = ["a", "b", "c"]
RNG = np.random.default_rng(0)
COLUMNS = [np.where(RNG.random(60) < 0.3, NAN, RNG.integers(0, 2, 60)) for _ in LABELS]
ESTIMATES = RNG.random((60, 3))


def targets(*rows: list[float]) -> dict[str, torch.Tensor]:
    return dict(zip(LABELS, torch.tensor(rows).T, strict=True))


def counted(*rows: list[float]) -> MultiLabel:
    head = MultiLabel(4, LABELS)
    counts = head.count({name: column.numpy().astype(float) for name, column in targets(*rows).items()})
    head.check(counts)
    head.set_counts(counts)
    return head


def test_a_patient_counts_if_one_label_is_known():
    table = pd.DataFrame({"a": [1, NAN, NAN], "b": [NAN, 0, NAN], "c": [NAN] * 3, "d": [1, 1, 1]})
    assert MultiLabel(4, LABELS).usable(table).tolist() == [True, True, False]


def test_class_weights_balance_each_label_over_the_patients_of_whom_it_is_known():
    head = counted([1, 0, 0], [0, 1, NAN], [0, NAN, 1], [0, NAN, 0])
    expected = [[4 / 6, 4 / 2], [1, 1], [3 / 4, 3 / 2]]
    assert head.class_weights.tolist() == [pytest.approx(weights) for weights in expected]


@pytest.mark.parametrize(
    ("last", "named"),
    [
        ([0.0, NAN, NAN], "all training patients have no known c; drop it from task.head.labels"),
        ([0.0, 1.0, 1.0], "all training patients have c = 1"),
        ([0.0, 1.0, 2.0], "'c' holds 2; write 0 or 1"),
    ],
)
def test_a_label_that_teaches_nothing_is_refused(last, named):
    with pytest.raises(UserError, match=named):
        counted([1, 0, NAN], [0, 1, NAN], last)


def test_the_loss_is_the_mean_over_known_labels_then_over_patients_of_the_hand():
    head = MultiLabel(4, LABELS, class_weights=[[1.0, 3.0], [1.0, 1.0], [1.0, 1.0]])
    scores = torch.tensor([[0.0, 2.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    first = (3 * functional.softplus(torch.tensor(0.0)) + functional.softplus(torch.tensor(2.0))) / 2
    second = functional.softplus(torch.tensor(-1.0))
    loss = head.loss(scores, targets([1, 0, NAN], [NAN, NAN, 1], [NAN, NAN, NAN]))
    assert loss.item() == pytest.approx(((first + second) / 2).item())
    assert head.loss(scores, targets(*[[NAN] * 3] * 3)) is None


@given(st.floats(-5, 5, width=32))
def test_the_score_of_an_unknown_label_moves_no_loss(score):
    head = MultiLabel(4, LABELS)
    scores = torch.tensor([[0.5, score, 0.1]], requires_grad=True)
    loss = head.loss(scores, targets([1, NAN, 0]))
    loss.backward()
    assert loss.item() == head.loss(torch.tensor([[0.5, 0.0, 0.1]]), targets([1, NAN, 0])).item()
    assert scores.grad[0, 1] == 0 and (scores.grad[0, [0, 2]] != 0).all()


def test_each_label_is_calibrated_by_itself_and_one_that_nobody_knows_stays():
    scores, label = torch.tensor([[4.0] * 3]).repeat(10, 1), [1.0] * 7 + [0.0] * 3
    known = targets(*[[value, 1.0 if index % 2 else NAN, NAN] for index, value in enumerate(label)])
    head = MultiLabel(4, LABELS)
    head.calibrate(scores, known, (scores, known))
    a, b, c = head.estimate(scores[:1])[0].tolist()
    assert a == pytest.approx(0.7, abs=0.05)
    assert b > torch.tensor(4.0).sigmoid() - 0.01
    assert c == pytest.approx(torch.tensor(4.0).sigmoid().item())
    alone = MultiLabel(4, ["a"])
    alone.calibrate(scores[:, :1], {"a": known["a"]}, (scores[:, :1], known))
    assert alone.estimate(scores[:1, :1]).item() == pytest.approx(a, abs=1e-3)


def test_answers_keep_to_their_schema_and_settings_rebuild_the_head():
    head = counted([1, 0, 0], [0, 1, 1]).eval()
    again = MultiLabel(**head.settings()).eval()
    again.load_state_dict(head.state_dict())
    fused = torch.randn(2, 4)
    answers = head.predict(head(fused))
    assert again.predict(again(fused)) == answers
    validator = Draft202012Validator(head.prediction_schema())
    validator.validate(answers[0])
    assert list(answers[0]["labels"]) == LABELS
    assert not validator.is_valid({"labels": {"a": 0.5}})


def test_metrics_of_a_label_are_the_binary_ones_of_the_patients_of_whom_it_is_known():
    metrics = MultiLabel(4, LABELS).metrics()
    assert next(iter(metrics)) == "auc"
    for name, metric in binary_metrics().items():
        expected = []
        for place, label in enumerate(LABELS):
            known = ~np.isnan(COLUMNS[place])
            expected.append(metric.value(COLUMNS[place][known], ESTIMATES[known, place]))
            assert metrics[f"{name}/{label}"].value(*COLUMNS, ESTIMATES) == expected[-1]
        assert metrics[name].value(*COLUMNS, ESTIMATES) == pytest.approx(np.mean(expected))


def test_a_mean_is_over_the_labels_that_are_defined():
    metrics = MultiLabel(4, LABELS).metrics()
    columns = [COLUMNS[0], np.ones(60), np.full(60, NAN)]
    assert metrics["auc"].value(*columns, ESTIMATES) == metrics["auc/a"].value(*columns, ESTIMATES)
    assert not metrics["auc/b"].defined(*columns) and not metrics["auc/c"].defined(*columns)
    assert not metrics["auc"].defined(*columns[1:], *columns[2:])


def test_the_baseline_learns_each_label_from_the_patients_of_whom_it_is_known():
    covariates = pd.DataFrame({"age": RNG.normal(size=60)})
    labels = {name: np.where(RNG.random(60) < 0.3, NAN, covariates["age"] > 0) for name in LABELS[:2]}
    labels["c"] = np.where(np.arange(60) < 5, 1.0, NAN)
    estimates = MultiLabel(4, LABELS).baseline(covariates, labels, pd.DataFrame({"age": [-2.0, 2.0]}))
    assert (estimates[0, :2] < 0.2).all() and (estimates[1, :2] > 0.8).all()
    assert (estimates[:, 2] == 1).all()


def test_it_learns_privately_with_labels_missing(cohort, build, tmp_path, monkeypatch):
    model = build()
    labels = cohort.patients[["biomarker", "os_event"]].astype(float)
    labels.iloc[::3, 0], labels.iloc[1::3, 1] = NAN, NAN
    monkeypatch.setattr(cohort, "patients", cohort.patients.assign(**labels))
    patients = list(cohort.patients.index)
    train, validation = (
        PatientDataset(cohort, part, list(model.encoder.modalities), list(labels))
        for part in (patients[:48], patients[48:])
    )
    cfg = configured(f"output={tmp_path}", "private={epsilon: 50}", "steps=4", "data.batch_size=16", "validate_every=2")
    module, metrics = fit(cfg, model.encoder, MultiLabel(32, list(labels)), train, validation)
    assert metrics["privacy/epsilon"] <= 50
    assert np.isfinite(metrics["validation/best_loss"])
    assert all(torch.isfinite(value).all() for value in module.head.state_dict().values())
