"""The project's aggregation rules on Fed-TCGA-BRCA beside FLamby's stored results (Ogier du Terrail et al. 2022).

`python scripts/bench/brca.py` reads `$CONSILIUM_DATA/fed_tcga_brca` (default: `../shared/data`) and prints one table.
Data, split, linear Cox model, seeds, order of batches and the hyperparameters of every method are FLamby's (the latter
read from its stored results), so nothing here is chosen by a test patient. A site trains 100 updates a round in 5
rounds: FLamby's rule, `(patients // sites // batch) * epochs // updates`.

FLamby's stored "cyclic" hands no weights on: each region trains a model of its own, five of the six get 100 updates,
and the first region's is evaluated. Ours passes the weights from region to region, each region once a round; one cycle
alone, shown for comparison, is about FLamby's amount of training. FLamby weights SCAFFOLD's server control by samples;
ours is the paper's plain mean (weighted, it gives FLamby's figures to 0.002 for every seed).

Below the table stands exact federated Cox (`brca_exact.py`), beside lifelines on all patients in one place: how far
apart their coefficients are at most, and the test C-index of both.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import torch
from brca_exact import BAR, Region, federated_cox, pooled_cox
from lifelines.utils import concordance_index
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from foundation.federation.strategies import Strategy
from foundation.federation.strategies.averaging import Cyclic, FedAvg, FedProx
from foundation.federation.strategies.scaffold import Scaffold
from foundation.federation.strategies.server_optimisers import FedAdagrad, FedAdam, FedYogi
from foundation.federation.weights.types import Weights
from foundation.federation.weights.update import SiteUpdate, difference

SEEDS = range(42, 47)
REGIONS, FEATURES, BATCH, EPOCHS, UPDATES = 6, 39, 8, 30, 100
MARGIN = 0.03
ONE_CYCLE = "Cyclic, one cycle"
GROUP = "record"
PREFIX = f"encoder.modalities.{GROUP}."  # names that group_of knows

Settings = Mapping[str, float]
Make = Callable[[Settings, int], Strategy]
ADAPTIVE = {"server_learning_rate": "learning_rate", "beta1": "beta1", "beta2": "beta2", "tau": "tau"}
STRATEGIES: dict[str, Make] = {
    "FedAvg": lambda settings, seed: FedAvg(),
    "FedProx": lambda settings, seed: FedProx(settings["mu"]),
    "Scaffold": lambda settings, seed: Scaffold(settings["server_learning_rate"]),
    "FedAdam": lambda settings, seed: FedAdam(**{ours: settings[theirs] for theirs, ours in ADAPTIVE.items()}),
    "FedYogi": lambda settings, seed: FedYogi(**{ours: settings[theirs] for theirs, ours in ADAPTIVE.items()}),
    "FedAdagrad": lambda settings, seed: FedAdagrad(**{ours: settings[theirs] for theirs, ours in ADAPTIVE.items()}),
    "Cyclic": lambda settings, seed: Cyclic(shuffle=True, seed=seed),
}


@dataclass
class Patients:
    """Features (n, 39); event and days (n, 2)."""

    features: Tensor
    truth: Tensor

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches; draws from the global generator what a torch DataLoader does, and as early."""
        torch.empty((), dtype=torch.int64).random_()  # the loader's own number, of no use here
        seed = int(torch.empty((), dtype=torch.int64).random_())
        order = torch.randperm(len(self.truth), generator=torch.Generator().manual_seed(seed))
        return ((self.features[part], self.truth[part]) for part in order.split(BATCH))

    def c_index(self, model: nn.Linear) -> float:
        with torch.no_grad():
            risk = model(self.features).squeeze(1)
        return float(concordance_index(self.truth[:, 1].numpy(), -risk.numpy(), self.truth[:, 0].numpy()))


@dataclass
class Site:
    """A region in one federated run: its patients, and what stays there between rounds.

    Attributes:
        patients: of its training fold.
        control: its SCAFFOLD variate by parameter; none before the first round.
    """

    patients: Patients
    control: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.epoch = self.patients.epoch()

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next one, without end."""
        batch = next(self.epoch, None)
        if batch is None:
            self.epoch = self.patients.epoch()
            batch = next(self.epoch)
        return batch

    def round(
        self, weights: Weights, settings: Mapping[str, float | str], control: Weights | None, rate: float
    ) -> SiteUpdate:
        """Plain SGD from given weights, with the terms that the strategy's settings ask for."""
        model = to_model(weights)
        start = {name: value.detach().clone() for name, value in model.named_parameters()}
        server = {name: torch.zeros_like(value) for name, value in start.items()}
        server |= {name.removeprefix(PREFIX): torch.from_numpy(value) for name, value in (control or {}).items()}
        control_variate = self.control or {name: torch.zeros_like(value) for name, value in start.items()}
        proximal, scaffold = float(settings.get("proximal", 0.0)), "scaffold" in settings
        for _ in range(UPDATES):
            features, truth = self.batch()
            model.zero_grad()
            cox_loss(model(features), truth).backward()
            with torch.no_grad():
                for name, value in model.named_parameters():
                    correction = server[name] - control_variate[name] if scaffold else 0.0
                    value -= rate * (value.grad + proximal * (value - start[name]) + correction)
        update = SiteUpdate(difference(weights, to_weights(model)), {GROUP: len(self.patients.truth)})
        if scaffold:
            moved = model.state_dict()
            change = {name: (start[name] - moved[name]) / (UPDATES * rate) - server[name] for name in start}
            self.control = {name: control_variate[name] + value for name, value in change.items()}
            update.control = {PREFIX + name: value.numpy() for name, value in change.items()}
        return update


@dataclass
class Benchmark:
    """FLamby's data: by region, and pooled."""

    regions: list[Patients]
    tests: list[Patients]
    pooled: Patients
    pooled_test: Patients

    @classmethod
    def read(cls, folder: Path) -> "Benchmark":
        if not (folder / "brca.csv").exists():
            raise SystemExit(f"error: {folder}: holds no brca.csv; set CONSILIUM_DATA or give --data")
        table, split = pd.read_csv(folder / "brca.csv"), pd.read_csv(folder / "train_test_split.csv")

        def part(column: str, fold: str) -> Patients:
            rows = table[table["pid"].isin(split.loc[split[column] == fold, "pid"])]
            values = torch.tensor(rows.iloc[:, 1:].to_numpy(np.float64), dtype=torch.float32)
            return Patients(values[:, :FEATURES], values[:, FEATURES:])

        by_region = [[part("fold2", f"{fold}_{region}") for region in range(REGIONS)] for fold in ("train", "test")]
        return cls(*by_region, part("fold", "train"), part("fold", "test"))

    def scores(self, model: nn.Linear) -> tuple[float, float]:
        """C-index of all test patients together, and the mean of the regions' own."""
        return self.pooled_test.c_index(model), mean(test.c_index(model) for test in self.tests)

    def alone(self, patients: Patients, rate: float, seed: int) -> nn.Linear:
        """Training on one set of patients, Adam."""
        torch.manual_seed(seed)
        model = nn.Linear(FEATURES, 1)
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for _ in range(EPOCHS):
            for features, truth in patients.epoch():
                optimizer.zero_grad()
                cox_loss(model(features), truth).backward()
                optimizer.step()
        return model

    def federated(self, make: Make, hyperparameters: Settings, rounds: int, seed: int) -> nn.Linear:
        """Rounds over the six regions under one of the project's strategies, with FLamby's hyperparameters."""
        strategy, rate = make(hyperparameters, seed), hyperparameters["learning_rate"]
        torch.manual_seed(seed)
        weights = to_weights(nn.Linear(FEATURES, 1))
        sites = {str(region): Site(patients) for region, patients in enumerate(self.regions)}
        torch.manual_seed(seed)
        for number in range(1, rounds + 1):
            for stage in strategy.stages(number, list(sites)):
                ask = (weights, strategy.site_settings(), strategy.server_control(), rate)
                updates = {name: sites[name].round(*ask) for name in stage}
                weights = strategy.combine(weights, updates, frozenset()).weights
        return to_model(weights)

    @property
    def rounds(self) -> int:
        return len(self.pooled.truth) // REGIONS // BATCH * EPOCHS // UPDATES


def cox_loss(score: Tensor, truth: Tensor) -> Tensor:
    """Negative log partial likelihood, mean over the batch; a patient's risk set is who lived at least as long.

    Args:
        score: (n, 1).
        truth: event and days, (n, 2).
    """
    order = torch.argsort(truth[:, 1], descending=True, stable=True)
    score, event = score.squeeze(1)[order], truth[order, 0]
    return ((score.logcumsumexp(0) - score) * event).mean()


def to_weights(model: nn.Linear) -> Weights:
    return {PREFIX + name: value.detach().numpy().copy() for name, value in model.named_parameters()}


def to_model(weights: Weights) -> nn.Linear:
    model = nn.utils.skip_init(nn.Linear, FEATURES, 1)  # draws no numbers, which would change the order of batches
    state = {name.removeprefix(PREFIX): torch.from_numpy(value.copy()) for name, value in weights.items()}
    model.load_state_dict(state)
    return model


def stored(folder: Path) -> pd.DataFrame:
    """FLamby's results, all seeds; methods without the number of updates in their name."""
    results = pd.concat([pd.read_csv(folder / f"flamby_results_seed{seed}.csv") for seed in SEEDS])
    return results.assign(Method=results["Method"].str.removesuffix(str(UPDATES)))


def methods(
    data: Benchmark, hyperparameters: Mapping[str, Settings]
) -> Iterator[tuple[str, str, Callable[[int], nn.Linear]]]:
    """By row: its title, FLamby's name of the method, and training from a seed."""
    pooled = "Pooled Training"
    yield "pooled", pooled, partial(data.alone, data.pooled, hyperparameters[pooled]["learning_rate"])
    for name, make in STRATEGIES.items():
        yield name, name, partial(data.federated, make, hyperparameters[name], data.rounds)
    yield ONE_CYCLE, "Cyclic", partial(data.federated, STRATEGIES["Cyclic"], hyperparameters["Cyclic"], 1)
    for region, patients in enumerate(data.regions):
        name = f"Local {region}"
        yield f"region {region} alone", name, partial(data.alone, patients, hyperparameters[name]["learning_rate"])


def table(data: Benchmark, theirs: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Cells of each row, as soon as its seeds are trained."""
    hyperparameters = theirs.groupby("Method").first().to_dict("index")
    pooled = theirs["Test"] == "Pooled Test"
    for title, method, train in methods(data, hyperparameters):
        scores = [data.scores(train(seed)) for seed in SEEDS]
        together, by_region = (mean(values) for values in zip(*scores, strict=True))
        of_method = theirs["Method"] == method
        stored_together = theirs.loc[of_method & pooled, "Metric"].mean()
        stored_by_region = theirs.loc[of_method & ~pooled, "Metric"].mean()
        apart = together - stored_together
        verdict = "not met" if apart < -MARGIN else "within" if apart <= MARGIN else "better"
        if title == ONE_CYCLE:
            verdict = "no bar"
        seeds = " ".join(f"{value:.2f}" for value, _ in scores)
        ours, others, ours_by_region, others_by_region = (
            f"{value:.3f}" for value in (together, stored_together, by_region, stored_by_region)
        )
        yield title, ours, others, f"{apart:+.3f}", verdict, seeds, ours_by_region, others_by_region


def exact(data: Benchmark) -> tuple[float, list[float]]:
    """Largest difference of coefficients between exact federated Cox and lifelines, and the test C-index of both."""
    arrays = [(part.features.double().numpy(), part.truth.double().numpy()) for part in data.regions]
    regions = [Region(features, truth[:, 0], truth[:, 1]) for features, truth in arrays]
    fits = [federated_cox(regions), pooled_cox(regions)]
    models = [
        to_model({f"{PREFIX}weight": beta[None].astype(np.float32), f"{PREFIX}bias": np.zeros(1, np.float32)})
        for beta in fits
    ]
    return float(np.abs(fits[0] - fits[1]).max()), [data.pooled_test.c_index(model) for model in models]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("CONSILIUM_DATA", "../shared/data")) / "fed_tcga_brca"
    parser.add_argument("--data", type=Path, default=default)
    folder = parser.parse_args().data
    torch.set_num_threads(1)
    data = Benchmark.read(folder)
    shown = Table(title=f"Fed-TCGA-BRCA: test C-index, mean of seeds {SEEDS[0]} to {SEEDS[-1]}", box=SIMPLE)
    for column in ("method", "ours", "FLamby", "difference", f"bar: {MARGIN}", "ours by seed", "by region", "FLamby"):
        shown.add_column(column)
    missed = 0
    for cells in table(data, stored(folder)):
        shown.add_row(*cells)
        missed += cells[4] == "not met"
    Console(width=120).print(shown)
    apart, (ours, lifelines) = exact(data)
    met = apart <= BAR
    print(
        f"exact federated Cox: C {ours:.4f}, pooled lifelines {lifelines:.4f}; coefficients apart by {apart:.1e} at "
        f"most (bar {BAR:g}: {'met' if met else 'not met'})"
    )
    raise SystemExit(0 if met and not missed else 1)


if __name__ == "__main__":
    main()
