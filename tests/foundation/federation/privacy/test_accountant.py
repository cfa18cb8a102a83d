"""Epsilon of Gaussian mechanisms, against independent accountants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from foundation.federation.privacy.accountant import Accountant, delta_of, epsilon_of


@pytest.mark.parametrize(
    ("multiplier", "releases", "delta", "expected"),
    [  # dp-accounting 0.6.0, PLDAccountant, which bounds the exact figure from above
        (1.0, 1, 1e-5, 4.37717810002493),
        (1.0, 10, 1e-5, 17.85658683146691),
        (4.0, 100, 1e-6, 14.450776968552242),
        (0.8, 8, 1e-5, 20.675508047742515),
        (10.0, 30, 1e-5, 2.2070594796932776),
    ],
)
def test_epsilon_is_that_of_an_independent_accountant(multiplier, releases, delta, expected):
    counted = Accountant(delta)
    counted.compose(multiplier, releases)
    assert counted.epsilon() == pytest.approx(expected, rel=2e-4)
    assert counted.epsilon() <= expected


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 20), st.integers(1, 50), st.sampled_from([1e-8, 1e-5, 1e-3]))
def test_renyi_accounting_bounds_it_from_above(multiplier, releases, delta):
    counted, bound = Accountant(delta), RDPAccountant()
    counted.compose(multiplier, releases)
    bound.history = [(multiplier, 1.0, releases)]
    assert counted.epsilon() <= bound.get_epsilon(delta) * (1 + 1e-9)
    assert delta_of(math.sqrt(counted.square), counted.epsilon()) <= delta * (1 + 1e-9)


def test_the_definition_holds_in_numbers():
    """Delta is the mass by which one neighbour's density exceeds e^epsilon times the other's."""
    mean, epsilon = 0.7, 1.3
    x = np.linspace(-12, 12, 2_000_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    other = np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
    mass = np.maximum(other - math.exp(epsilon) * density, 0).sum() * (x[1] - x[0])
    assert delta_of(mean, epsilon) == pytest.approx(mass, rel=1e-6)


def test_rounds_of_different_noise_compose_and_nothing_costs_nothing():
    counted = Accountant(1e-5)
    assert counted.epsilon() == 0
    counted.compose(2.0)
    counted.compose(1.0)
    assert counted.epsilon() == pytest.approx(epsilon_of(math.sqrt(1.25), 1e-5))
    assert counted.epsilon(sensitivity=2.0) == pytest.approx(epsilon_of(2 * math.sqrt(1.25), 1e-5))
    assert epsilon_of(1e-9, 1e-5) == 0
    assert epsilon_of(1e9, 1e-5) == math.inf


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("schedule", [[1.0] * 10, [1.0, 1.5, 2.0, 2.5, 3.0], [0.8, 4.0, 1.5, 10.0, 2.0, 0.9]])
def test_epsilon_of_constant_rising_and_mixed_noise_is_that_of_numeric_convolution(schedule):
    counted, convolved = Accountant(1e-5), PRVAccountant()
    for noise in schedule:
        counted.compose(noise)
    convolved.history = [(noise, 1.0, 1) for noise in schedule]
    expected = convolved.get_epsilon(1e-5, eps_error=0.01, delta_error=1e-8)
    assert counted.epsilon() == pytest.approx(expected, rel=0.01)
