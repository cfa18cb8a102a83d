"""Differential privacy spent, as a ledger counts it."""

from pathlib import Path

import pytest

from foundation.federation.ledger import Ledger
from foundation.federation.ledger.spent import EMBEDDINGS, UPDATES, Spent, releases, spent_by_run
from tests.foundation.federation.ledger.ledgers import epsilon_of


def test_privacy_adds_up_over_runs_and_repeated_ones(path: Path):
    ledger = Ledger.open(path, "riverside")
    for run, epsilon in (("a", 1.0), ("a", 1.5), ("b", 1.0), ("a", 0.5), ("a", 0.9)):
        ledger.append("update", "out", run=run, epsilon=epsilon, delta=1e-5)
        ledger.append("evaluation", "out", run=run, epsilon=epsilon, delta=1e-5)
    ledger.append("update", "in", run="c", epsilon=9.0)
    assert spent_by_run(ledger.entries()) == {"a": Spent(2.4, 2e-5), "b": Spent(1.0, 1e-5)}
    assert epsilon_of(path) == pytest.approx(3.4)
    assert epsilon_of(path, "b") == 1.0
    assert releases(ledger.entries(), "a") == 4
    ledger.append("embeddings", "out", run="a", epsilon=1.9, delta=2e-5)
    found = [releases(ledger.entries(), "a", kinds) for kinds in (UPDATES, EMBEDDINGS)]
    assert found == [4, 1] and releases(ledger.entries(), "a") == 5
    assert epsilon_of(path, "a") == pytest.approx(1.5 + 1.9)
