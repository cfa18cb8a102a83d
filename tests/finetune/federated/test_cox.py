"""Cox regression and the gradient of a Cox loss over hospitals, held against everybody in one place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from numpy.typing import NDArray

from finetune.federated.cox import (
    RISK_INFORMATION,
    RISK_MOMENTS,
    RISK_SETS,
    STRATUM,
    PooledCox,
    pooled_gradient,
    risk_information,
    risk_moments,
    stratum,
)
from finetune.federated.steady import Steady, of_steady_sites
from finetune.heads.survival import cox_loss
from foundation.errors import UserError
from foundation.statistics.cox import RiskSums
from foundation.statistics.grid import Grid
from tests.finetune.federated.hospitals import Answer, Hospitals

WIDTH = 4
SIZES = {"north": 90, "east": 40, "south": 25, "west": 12}
QUIET = "west"  # where nobody had the event


def patients(seed: int = 0, days: int = 400) -> dict[str, pd.DataFrame]:
    """By hospital, covariates, events and whole days with ties."""
    rng = np.random.default_rng(seed)
    tables = {}
    for number, (name, count) in enumerate(SIZES.items()):
        x = rng.normal(0.3 * number, 1, (count, WIDTH))
        time = np.ceil(rng.exponential(days / 3, count) / np.exp(0.5 * x[:, 0] - 0.3 * x[:, 1])).clip(1, days)
        table = pd.DataFrame(x, columns=[f"x{place}" for place in range(WIDTH)])
        tables[name] = table.assign(time=time, event=0.0 if name == QUIET else (rng.random(count) < 0.6).astype(float))
    return tables


def parts(table: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    return table["event"].to_numpy(), table["time"].to_numpy(), table.iloc[:, :WIDTH].to_numpy()


def linear(table: pd.DataFrame, grid: Grid, ties: Any) -> Answer:
    """A hospital of covariates as they are."""

    def answer(name: str, question: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        at = (*parts(table), grid, question["beta"])
        if name == RISK_MOMENTS:
            return risk_moments(*at)
        if name == RISK_INFORMATION:
            return {"information": risk_information(*at, question["weight"], question["tied"])}
        assert name == STRATUM
        return stratum(*at, ties)

    return answer


def fitted(tables: dict[str, pd.DataFrame], ties: Any = "efron", stratified: bool = False) -> NDArray[np.float64]:
    grid = Grid.exact(pd.concat(tables.values())["time"].to_numpy())
    ask = Hospitals({name: linear(table, grid, ties) for name, table in tables.items()})
    return newton(ask, grid, ties, stratified)


def newton(ask: Hospitals, grid: Grid, ties: Any = "efron", stratified: bool = False) -> NDArray[np.float64]:
    def fit(steady: Steady) -> NDArray[np.float64]:
        return PooledCox(steady, {}, grid, WIDTH, 0.0, stratified, ties).fit(np.zeros(WIDTH), 30)

    return of_steady_sites(ask, fit)


@pytest.mark.parametrize("stratified", [False, True])
def test_newton_over_hospitals_is_pooled_cox_regression(stratified: bool):
    tables = patients()
    pooled = pd.concat([table.assign(site=name) for name, table in tables.items()])
    strata = ["site"] if stratified else None
    columns = pooled if stratified else pooled.drop(columns="site")
    oracle = CoxPHFitter().fit(columns, "time", "event", strata=strata, fit_options={"precision": 1e-12})
    np.testing.assert_allclose(fitted(tables, stratified=stratified), oracle.params_.to_numpy(), atol=1e-8)


def test_breslow_ties_over_hospitals_are_those_of_the_heads_loss():
    tables = patients(1, days=40)
    beta = torch.tensor(fitted(tables, "breslow"), requires_grad=True)
    event, time, x = (torch.tensor(values) for values in parts(pd.concat(tables.values())))
    loss = cox_loss(x @ beta, event, time)
    assert loss is not None
    loss.backward()
    torch.testing.assert_close(beta.grad, torch.zeros(WIDTH, dtype=torch.float64), atol=1e-9, rtol=0)


def test_gradient_of_a_network_over_hospitals_is_that_of_the_pooled_loss():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    tables = patients(2)
    grid = Grid.exact(pd.concat(tables.values())["time"].to_numpy())
    names = dict(network.named_parameters())

    def hospital(table: pd.DataFrame) -> Answer:
        event, time, x = parts(table)

        def answer(name: str, question: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            eta = network(torch.tensor(x)).squeeze(1)
            if name == RISK_SETS:
                return RiskSums.from_patients(event, time, eta.detach().numpy(), grid).to_arrays()
            slope = RiskSums.empty(grid).filled(dict(question)).gradient(event, time, eta.detach().numpy())
            found = torch.autograd.grad((eta * torch.tensor(slope)).sum(), list(names.values()))
            return dict(zip(names, (part.numpy() for part in found), strict=True))

        return answer

    ask = Hospitals({name: hospital(table) for name, table in tables.items()})
    start = {name: value.detach().numpy() for name, value in names.items()}
    loss, gradient = pooled_gradient(Steady(ask), start, grid, list(names))
    event, time, x = (torch.tensor(values) for values in parts(pd.concat(tables.values())))
    pooled = cox_loss(network(x).squeeze(1), event, time)
    assert pooled is not None
    pooled.backward()
    assert loss == pytest.approx(pooled.item(), abs=1e-12)
    for name, value in names.items():
        np.testing.assert_allclose(gradient[name], value.grad.numpy(), atol=1e-10, rtol=0, err_msg=name)


def test_sum_of_hospitals_own_gradients_is_another_one():
    """What is commonly done: the risk sets of each hospital by itself."""
    tables = patients(2)
    assert np.abs(fitted(tables) - fitted(tables, stratified=True)).max() > 1e-2


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])  # of the exchange, between steps and within one
def test_site_that_leaves_between_two_exchanges_is_in_none_of_them(stratified: bool, number: int):
    tables = patients()
    grid = Grid.exact(pd.concat(tables.values())["time"].to_numpy())
    answers = {name: linear(table, grid, "efron") for name, table in tables.items()}
    gone = Hospitals(answers, {number: "east"})
    stayed = {name: table for name, table in tables.items() if name != "east"}
    without = newton(Hospitals({name: answers[name] for name in stayed}), grid, stratified=stratified)
    np.testing.assert_array_equal(newton(gone, grid, stratified=stratified), without)
    assert "east" not in gone.answers


def test_separated_patients_bound_no_coefficients_without_a_ridge():
    table = pd.DataFrame(np.zeros((6, WIDTH)), columns=[f"x{place}" for place in range(WIDTH)])
    table = table.assign(time=np.arange(1.0, 7.0), event=1.0, x0=np.arange(6.0, 0.0, -1.0))
    with pytest.raises(UserError, match=r"^cox\.ridge: the hospitals' patients bound no coefficients"):
        fitted({"only": table})
