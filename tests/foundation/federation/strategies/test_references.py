"""Aggregation rules beside formulas written out by hand, Flower's own, and their configs."""

from pathlib import Path
from types import SimpleNamespace

import hydra
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from torch import nn

from foundation.errors import UserError
from foundation.federation.strategies import Strategy
from foundation.federation.strategies.averaging import Cyclic, FedAvg, FedProx
from foundation.federation.strategies.robust import Krum, Median, TrimmedMean
from foundation.federation.strategies.scaffold import Scaffold
from foundation.federation.strategies.server_optimisers import FedAdagrad, FedAdam, FedAvgM, FedYogi
from foundation.federation.weights.module import local_names
from foundation.federation.weights.update import SiteUpdate
from pretrain.fit import build_module

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[4] / "configs" / "strategy").glob("*.yaml"))
NAME, OTHER = "encoder.fusion.block", "encoder.modalities.genomics.gene"
SAMPLES = {f"site{place}": count for place, count in enumerate((3, 5, 8, 4, 10, 7, 2))}
ROUNDS = 5


def run(strategy: Strategy, sites: int, samples: dict[str, int] = SAMPLES) -> list[np.ndarray]:
    """The model of one parameter after each round; sites move it by fixed random steps."""
    rng, value, values = np.random.default_rng(0), np.arange(6, dtype=np.float32), []
    for _ in range(ROUNDS):
        moves = {f"site{place}": rng.normal(size=6).astype(np.float32) for place in range(sites)}
        updates = {site: SiteUpdate({NAME: move}, {"fusion": samples[site]}) for site, move in moves.items()}
        value = strategy.combine({NAME: value}, updates, frozenset()).weights[NAME]
        values.append(value)
    return values


def run_flower(theirs: flower.FedAvg, sites: int, samples: dict[str, int] = SAMPLES) -> list[np.ndarray]:
    """The same rounds through Flower's strategy, whose rounds count from 1."""
    rng, value, found = np.random.default_rng(0), np.arange(6, dtype=np.float32), []
    for number in range(1, ROUNDS + 1):
        if isinstance(theirs, flower.FedAvgM):
            theirs.current_arrays = ArrayRecord({NAME: Array(value)})
        else:
            theirs.current_arrays = {NAME: value}
        replies = []
        for place in range(sites):
            moved = value + rng.normal(size=6).astype(np.float32)
            metrics = MetricRecord({"num-examples": samples[f"site{place}"]})
            content = RecordDict({"arrays": ArrayRecord({NAME: Array(moved)}), "metrics": metrics})
            # What the rules read of a message; a real one can only be made inside a run.
            replies.append(SimpleNamespace(content=content, has_error=lambda: False))
        arrays, _ = theirs.aggregate_train(number, replies)
        value = arrays[NAME].numpy().astype(np.float32)
        found.append(value)
    return found


ALIKE = dict.fromkeys(SAMPLES, 4)
ADAPTIVE = {"beta_1": 0.9, "beta_2": 0.99, "tau": 1e-9, "eta": 0.3}
OURS = {"beta1": 0.9, "beta2": 0.99, "tau": 1e-9, "learning_rate": 0.3}


@pytest.mark.parametrize(
    ("ours", "theirs", "sites", "samples"),
    [
        (FedAvg(), flower.FedAvg(), 4, SAMPLES),
        (FedAvgM(0.7, 0.8), flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.8), 4, SAMPLES),
        (FedYogi(**OURS), flower.FedYogi(**ADAPTIVE), 4, SAMPLES),
        (FedAdagrad(0.3, beta1=0.0, tau=1e-9), flower.FedAdagrad(eta=0.3, tau=1e-9), 4, SAMPLES),
        (Median(), flower.FedMedian(), 4, SAMPLES),
        (Median(), flower.FedMedian(), 5, SAMPLES),
        (TrimmedMean(), flower.FedTrimmedAvg(beta=0.2), 5, SAMPLES),
        (TrimmedMean(hostile=2), flower.FedTrimmedAvg(beta=0.3), 7, SAMPLES),
        (Krum(hostile=2), flower.Krum(num_malicious_nodes=2), 7, SAMPLES),
        # Flower weights the chosen by samples, the paper does not: they agree where samples are alike.
        (Krum(selected=3), flower.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3), 6, ALIKE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_flowers_own_rules_give_the_same(ours, theirs, sites, samples):
    np.testing.assert_allclose(run(ours, sites, samples), run_flower(theirs, sites, samples), rtol=2e-5, atol=2e-6)


def test_flowers_adam_is_ours_with_its_bias_correction():
    class Corrected(FedAdam):
        number = 0

        def combine(self, *given):
            self.number += 1
            up, down = 1 - 0.99 ** (self.number + 1), 1 - 0.9 ** (self.number + 1)
            self.learning_rate = 0.3 * np.sqrt(up) / down
            return super().combine(*given)

    np.testing.assert_allclose(
        run(Corrected(**OURS), 4), run_flower(flower.FedAdam(**ADAPTIVE), 4), rtol=2e-5, atol=2e-6
    )


@pytest.mark.parametrize("rule", [FedAvgM, FedAdam, FedYogi, FedAdagrad])
def test_server_optimisers_follow_the_papers_formulas(rule):
    rng, value, first, second = np.random.default_rng(0), np.arange(6, dtype=np.float64), np.zeros(6), np.full(6, 0.01)
    made = FedAvgM(0.5, 0.6) if rule is FedAvgM else rule(0.5, 0.6, 0.7, 0.1)
    total = sum(SAMPLES[f"site{place}"] for place in range(3))
    for found in run(made, 3):
        start = value.astype(np.float32)
        moved = [start + rng.normal(size=6).astype(np.float32) for _ in range(3)]
        change = sum(SAMPLES[f"site{place}"] * (array - value) for place, array in enumerate(moved)) / total
        if rule is FedAvgM:
            first = 0.6 * first + change
            value = value + 0.5 * first
        else:
            first = 0.6 * first + 0.4 * change
            square = change**2
            second = {
                FedAdam: 0.7 * second + 0.3 * square,
                FedYogi: second - 0.3 * square * np.sign(second - square),
                FedAdagrad: second + square,
            }[rule]
            value = value + 0.5 * first / (np.sqrt(second) + 0.1)
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)


def test_scaffolds_control_is_the_mean_over_all_sites_that_ever_trained_the_group():
    rng, strategy = np.random.default_rng(0), Scaffold()
    own: dict[str, dict] = {name: {} for name in ("north", "south", "west")}
    weights = {NAME: np.zeros(4, np.float32), OTHER: np.zeros(4, np.float32)}
    # Who trains which group in which round: west joins late, south leaves, genomics is at north and west alone.
    rounds = [{"north": "fg", "south": "f"}, {"north": "fg"}, {"north": "f", "west": "fg"}, {"west": "g", "south": "f"}]
    for present in rounds:
        updates = {}
        for site, groups in present.items():
            names = [name for name, letter in ((NAME, "f"), (OTHER, "g")) if letter in groups]
            change = {name: rng.normal(size=4).astype(np.float32) for name in names}
            for name in names:
                own[site][name] = own[site].get(name, 0) + change[name].astype(np.float64)
            samples = {"fusion": int("f" in groups), "genomics": int("g" in groups)}
            moves = {name: rng.normal(size=4).astype(np.float32) for name in weights}
            updates[site] = SiteUpdate(moves, samples, change)
        weights = strategy.combine(weights, updates, frozenset()).weights
        for name in weights:
            members = [kept[name] for kept in own.values() if name in kept]
            np.testing.assert_allclose(strategy.server_control()[name], np.mean(members, axis=0), rtol=1e-5, atol=1e-6)
    assert strategy.members == {"fusion": ["north", "south", "west"], "genomics": ["north", "west"]}


def test_scaffold_has_no_control_of_running_statistics_and_starts_without_any():
    strategy, updates = Scaffold(), {"north": SiteUpdate({NAME: np.ones(2, np.float32)}, {"fusion": 1})}
    assert strategy.server_control() == {} and FedAvg().server_control() is None
    strategy.combine({NAME: np.zeros(2, np.float32)}, updates, frozenset({NAME}))
    assert strategy.server_control() == {}


def test_what_a_site_is_asked_to_add():
    assert FedProx(0.3).site_settings() == {"proximal": 0.3}
    assert Scaffold().site_settings() == {"scaffold": 1.0}
    assert FedAvg().site_settings() == {}


def test_cyclic_sends_one_site_after_another_in_an_order_that_a_resumed_run_repeats():
    sites = ["north", "south", "east", "west"]
    assert FedAvg().stages(1, sites) == [sites]
    assert Cyclic().stages(3, sites) == [["north"], ["south"], ["east"], ["west"]]
    drawn = [Cyclic(shuffle=True, seed=1).stages(number, sites) for number in range(1, 9)]
    assert drawn == [Cyclic(shuffle=True, seed=1).stages(number, sites) for number in range(1, 9)]
    assert len({tuple(map(tuple, stages)) for stages in drawn}) > 1
    assert all(sorted(site for (site,) in stages) == sorted(sites) for stages in drawn)


def test_local_parts_are_neither_read_nor_changed():
    previous = {NAME: np.zeros(2, np.float32), OTHER: np.ones(2, np.float32)}
    updates = {
        "north": SiteUpdate({NAME: np.full(2, 7, np.float32)}, {"fusion": 1, "genomics": 1})
    }  # sends no genes at all
    found = FedAvg(local=["encoder.modalities.genomics.*"]).combine(previous, updates, frozenset())
    assert found.weights[OTHER] is previous[OTHER] and found.weights[NAME][0] == 7
    assert found.coverage == {"fusion": {"north": 1.0}}


def test_local_names_of_a_real_module(configure):
    module = build_module(configure(), None, 0, 1)
    assert local_names(module, ["objectives.*.log_scale"]) == ("objectives.alignment.log_scale",)
    genes = local_names(module, ["group:genomics"])
    assert "encoder.fusion.kind.genomics" in genes and "encoder.modalities.genomics.expression_mean" in genes
    assert local_names(module, []) == ()
    with pytest.raises(UserError, match=r"strategy\.local: 'group:genes' matches no parameter .* genomics"):
        local_names(module, ["group:genes"])


def test_batch_norm_stays_with_its_running_statistics():
    part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    module = nn.ModuleDict({"encoder": nn.ModuleDict({"modalities": nn.ModuleDict({"pathology": part})})})
    kept = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert set(local_names(module, ["batch_norm"])) == {f"encoder.modalities.pathology.1.{name}" for name in kept}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_makes_a_strategy(name):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        made = hydra.utils.instantiate(hydra.compose(f"strategy/{name}").strategy)
    assert isinstance(made, Strategy)
    assert made.stages(1, ["north"]) == [["north"]]
