"""What FedProx and SCAFFOLD add to a site's loss, held against their closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foundation.engine.drift_correction import DriftCorrection, control_change, correction_of
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.weights.module import to_weights
from pretrain.fit import build_module, fit_round


class Two(nn.Module):
    """A parameter in each of two groups."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(values))
        self.b = nn.Parameter(torch.ones(2))


GROUPS = {"a": "pathology", "b": "genomics"}
NUMBERS = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(NUMBERS, st.floats(-1, 1, width=32), st.floats(0, 5))
def test_the_proximal_gradient_is_mu_times_the_distance(values, moved, mu):
    module = Two(values)
    drift_correction = DriftCorrection(GROUPS, proximal=mu)
    drift_correction.begin(module)
    with torch.no_grad():
        module.a += moved
    distance = (module.a - torch.tensor(values)).detach()
    term = drift_correction.term(["pathology"], 0.1)
    if mu == 0:
        assert term is None
        return
    term.backward()
    assert float(term.detach()) == pytest.approx(mu / 2 * float((distance**2).sum()), rel=1e-5, abs=1e-6)
    torch.testing.assert_close(module.a.grad, mu * distance)
    assert module.b.grad is None, "not trained, so no gradient, and no weight decay either"


def test_the_correction_is_the_gradient_of_its_term_and_rates_add_up_by_group():
    module = Two([1.0, 2.0])
    drift_correction = DriftCorrection(GROUPS, correction={"a": np.array([0.5, -0.25], np.float32)})
    drift_correction.begin(module)
    drift_correction.term(["pathology"], 0.1).backward()
    assert module.a.grad.tolist() == [0.5, -0.25]
    assert drift_correction.term(["genomics"], 0.2) is None
    drift_correction.term(["pathology", "genomics"], 0.3)
    assert drift_correction.rates == {"pathology": pytest.approx(0.4), "genomics": pytest.approx(0.5)}


def test_frozen_and_local_parameters_are_not_corrected():
    module = Two([1.0])
    module.a.requires_grad_(False)
    drift_correction = DriftCorrection({"a": "pathology"}, proximal=1.0)  # b stays at the site
    drift_correction.begin(module)
    assert drift_correction.term(["pathology", "genomics"], 0.1) is None


def test_weights_spread_over_processes_are_refused():
    module = Two([1.0])
    module.a.ds_id = 0
    with pytest.raises(UserError, match=r"^trainer\.strategy: ZeRO-3 .* train with deepspeed_zero2"):
        DriftCorrection(GROUPS, proximal=1.0).begin(module)


def test_a_pull_that_pushes_is_refused():
    with pytest.raises(UserError, match=r"^strategy\.proximal: found -1\.0"):
        DriftCorrection(GROUPS, proximal=-1.0)


# Two sites whose losses are h/2 * (w - m)^2: the optimum of their mean is the mean of m weighted by h.
SITES = {"flat": (1.0, 4.0), "steep": (8.0, -1.0)}
OPTIMUM = (1.0 * 4.0 + 8.0 * -1.0) / 9.0
RATE, STEPS = 0.05, 10


def local_steps(name: str, start: float, drift_correction: DriftCorrection) -> float:
    height, middle = SITES[name]
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    drift_correction.begin(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = height / 2 * (module.w - middle).square().sum()
        term = drift_correction.term(["g"], RATE)
        (loss if term is None else loss + term).backward()
        optimizer.step()
    return float(module.w.detach())


def federate(rounds: int, scaffold: bool) -> float:
    w, server, own = 0.0, {}, {name: {} for name in SITES}
    groups = {"w": "g"}
    for _ in range(rounds):
        ends, changes = [], []
        for name in SITES:
            correction = correction_of(server, own[name], groups) if scaffold else None
            drift = DriftCorrection(groups, correction=correction)
            end = local_steps(name, w, drift)
            change = control_change({"w": np.array([w])}, {"w": np.array([end])}, server, groups, drift.rates)
            own[name] = {"w": own[name].get("w", 0.0) + change["w"]}
            ends.append(end)
            changes.append(change["w"])
        w = float(np.mean(ends))
        server = {"w": server.get("w", 0.0) + np.mean(changes, axis=0)}
    return w


def test_scaffold_reaches_the_optimum_of_both_sites_where_averaging_does_not():
    assert abs(federate(60, scaffold=False) - OPTIMUM) > 0.5
    assert federate(60, scaffold=True) == pytest.approx(OPTIMUM, abs=1e-4)


def test_a_new_control_variate_is_the_mean_gradient_of_the_rounds_steps():
    # One step: w = w0 - lr * (g + c - c_i), so c_i + change = g.
    gradient, server, own = 3.0, 0.5, 2.0
    end = 1.0 - 0.1 * (gradient + server - own)
    change = control_change(
        {"w": np.array([1.0])}, {"w": np.array([end])}, {"w": np.array([server])}, {"w": "g"}, {"g": 0.1}
    )
    assert own + float(change["w"][0]) == pytest.approx(gradient, rel=1e-6)
    assert control_change({}, {}, {}, {"w": "g"}, {}) == {}, "not trained, not changed"


def sgd(*more: str) -> tuple[str, ...]:
    return ("optimizer.kind=sgd", "optimizer.fused=false", "optimizer.weight_decay=0", *more)


def test_a_step_of_sgd_is_turned_by_exactly_the_correction(configure, tmp_path: Path):
    cfg = configure(*sgd(), "~trainer.gradient_clip_val")
    module = build_module(cfg, None, 0, 1)
    start = to_weights({name: value.clone() for name, value in module.state_dict().items()})
    groups = {name: group_of(name) for name, _ in module.named_parameters()}
    pull = {name: np.full(start[name].shape, 0.5, np.float32) for name in groups}
    module.drift_correction = DriftCorrection(groups, correction=pull)
    plain = fit_round(cfg, ["northgate"], start, tmp_path / "a", 1, 0, 1)
    turned = fit_round(cfg, ["northgate"], start, tmp_path / "b", 1, 0, 1, module=module)
    rate = cfg.optimizer.learning_rate * 0.01  # the first step of the warm-up
    assert turned.samples == plain.samples
    assert set(module.drift_correction.rates) == set(plain.samples)
    for name, group in groups.items():
        moved = 0.5 * rate if group in plain.samples else 0.0
        np.testing.assert_allclose(plain.weights[name] - turned.weights[name], moved, atol=3e-7, err_msg=name)


def test_a_strong_pull_holds_the_weights_and_moves_nothing_that_was_not_taught(configure, tmp_path: Path):
    cfg = configure()
    start = to_weights(build_module(cfg, None, 0, 1).state_dict())
    distances = []
    for mu in (0.0, 10_000.0):
        module = build_module(cfg, start, 0, 6)
        groups = {name: group_of(name) for name, _ in module.named_parameters()}
        module.drift_correction = DriftCorrection(groups, proximal=mu)
        end = fit_round(cfg, ["northgate"], None, tmp_path / str(mu), 6, 0, 6, module=module)
        untaught = [name for name in groups if groups[name] not in end.samples]
        assert {groups[name] for name in untaught} == {"genomics", "objective:masked_genes"}
        for name in untaught:
            np.testing.assert_array_equal(end.weights[name], start[name], err_msg=name)
        distances.append(sum(float(((end.weights[name] - start[name]) ** 2).sum()) for name in groups))
    assert distances[1] < 0.25 * distances[0]


def test_an_unknown_optimiser_is_one_line(configure):
    with pytest.raises(UserError, match=r"^optimizer\.kind: found 'lion'; choose from adamw, sgd$"):
        build_module(configure("optimizer.kind=lion"), None, 0, 1)
