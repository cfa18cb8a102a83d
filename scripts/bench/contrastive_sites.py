"""Contrastive learning where a site's negatives are few: the options side by side at a hospital that nobody trained on.

`python scripts/bench/contrastive_sites.py --seeds 0 1 2` draws the embedded cohort and trains anew for each seed, one
site after another in this process: each site alone, federated by modality (FedAvg), the same with a temperature of each
site's own, with SigLIP, with a bank of protected embeddings, and pooled. Everyone sees equally many patients a step
and site; the pooled run takes the sites' batches as one. Prints R@5 of images finding genes, and the mean over all
pairs of modalities, with 95 % intervals over the held-out patients, and the gain over plain federation on the same
patients. `--noise` is the bank's with hardly any protection: what it could be worth at most.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import foundation  # noqa: F401  # isort: skip
import hydra
import numpy as np
import torch
from commands import run
from numpy.typing import NDArray
from omegaconf import DictConfig
from sites import QUIET, Setting, alone, federated

from foundation.data.dataset import PatientDataset
from foundation.federation.weights.types import Weights
from pretrain.assemble import load_cohort
from pretrain.embedding import Embedded, embed
from pretrain.federated.bank.settings import BankSettings
from pretrain.fit import build_module

Hits = NDArray[np.float64]
K = 5
PAIR = "pathology_to_genomics"
DRAWS = 2000


def compose(folder: Path, seed: int, *overrides: str) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        common = ["experiment=demo", f"data.folder={folder}/cohort", f"seed={seed}", *QUIET]
        return hydra.compose("pretrain", [*common, *overrides])


def arms(setting: Setting, siglip: Setting, banks: dict[str, BankSettings]) -> dict[str, Callable[[], Weights]]:
    """By name, what trains."""
    batch = setting.cfg.data.batch_size
    arms: dict[str, Callable[[], Weights]] = {
        f"local, {site}": functools.partial(alone, setting, [site], batch) for site in setting.sites
    }
    arms["federated"] = functools.partial(federated, setting)
    arms["federated, temperature by site"] = functools.partial(federated, setting, ("objectives.*.log_scale",))
    arms["federated, SigLIP"] = functools.partial(federated, siglip)
    for name, bank in banks.items():
        arms[f"federated, {name}"] = functools.partial(federated, setting, bank=bank)
    arms["pooled"] = functools.partial(alone, setting, setting.sites, batch * len(setting.sites))
    return arms


def hits(setting: Setting, held_out: str, weights: Weights) -> dict[str, Hits]:
    """By ordered pair of modalities, who of the held-out patients finds the own partner among the first five.

    `[patients]`, NaN where a patient lacks one of the two.
    """
    cohort, parts = load_cohort(setting.cfg, [held_out])
    module = build_module(setting.cfg, None, 0, 1)
    encoder = {name: torch.from_numpy(np.array(weights[f"encoder.{name}"])) for name in module.encoder.state_dict()}
    module.encoder.load_state_dict(encoder)
    seen = embed(module.encoder, PatientDataset(cohort, parts.test, list(module.encoder.modalities)))
    return {f"{a}_to_{b}": _pair(seen, a, b) for a in seen.embeddings for b in seen.embeddings if a != b}


def _pair(seen: Embedded, source: str, target: str) -> Hits:
    both = seen.present[source] & seen.present[target]
    queries, gallery = (seen.embeddings[name][both[seen.present[name]]] for name in (source, target))
    likeness = queries @ gallery.T
    rank = (likeness >= likeness.diagonal()[:, None]).sum(dim=1)  # ties count against us
    hits = np.full(len(both), np.nan)
    hits[both.numpy()] = (rank <= K).numpy()
    return hits


def figures(by_seed: list[dict[str, Hits]], seed: int = 0) -> dict[str, Hits]:
    """Both figures as means over seeds: first the value, then bootstrap draws of patients, the same for every arm."""
    rng = np.random.default_rng(seed)
    sums = {"image→gene": np.zeros(DRAWS + 1), "all pairs": np.zeros(DRAWS + 1)}
    for hits_ in by_seed:
        count = len(hits_[PAIR])
        rows = np.vstack([np.arange(count), rng.integers(0, count, (DRAWS, count))])
        by_pair = np.stack([np.nanmean(values[rows], axis=1) for values in hits_.values()])
        sums["image→gene"] += by_pair[list(hits_).index(PAIR)] / len(by_seed)
        sums["all pairs"] += by_pair.mean(axis=0) / len(by_seed)
    return sums


def with_interval(values: Hits) -> str:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:6.3f} ({low:6.3f} to {high:6.3f})"


def table(results: dict[str, list[dict[str, Hits]]], seconds: dict[str, float], seeds: list[int]) -> None:
    measured = {name: figures(values) for name, values in results.items()}
    alone_ = [values for name, values in measured.items() if name.startswith("local, ")]
    mean = {key: np.mean([values[key] for values in alone_], axis=0) for key in alone_[0]}
    plain = measured["federated"]
    print(f"\nR@{K} at the held-out hospital, mean of seeds {' '.join(map(str, seeds))} (95 % over its patients)")
    print(f"{'':34}" + "".join(f"{key:>26}{'gain over federated':>26}" for key in plain) + "  CPU s/seed")
    for name, values in {"local, mean of sites": mean, **measured}.items():
        line = f"{name:34}"
        for key in values:
            gain = "" if name == "federated" else with_interval(values[key] - plain[key])
            line += f"{with_interval(values[key]):>26}{gain:>26}"
        print(line + (f"{seconds[name] / len(seeds):12.0f}" if name in seconds else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--epsilon", type=float, default=8.0, help="of one release of a patient to the bank")
    parser.add_argument("--noise", type=float, default=0.05, help="of the bank that is hardly protected")
    parser.add_argument("--overrides", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shared = {"modalities": ("pathology", "genomics")}
    safe, open_ = (
        BankSettings.read(**shared, epsilon=arguments.epsilon),
        BankSettings.read(**shared, noise=arguments.noise),
    )
    banks = {f"bank, epsilon {arguments.epsilon:g}": safe, f"bank, noise {arguments.noise:g} alone": open_}
    results: dict[str, list[dict[str, Hits]]] = {}
    seconds: dict[str, float] = {}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
            folder = Path(name)
            source = ["cohort=demo", f"cohort.source.seed={seed}", f"cohort.root={folder}/raw"]
            run("foundation.data prepare", *source, f"output={folder}/cohort")
            cfg, other = (compose(folder, seed, *arguments.overrides, *more) for more in ((), ("objective=siglip",)))
            held_out = next(iter(cfg.data.test_hospitals))
            sites = [hospital for hospital in load_cohort(cfg)[0].hospitals if hospital != held_out]
            setting, siglip = (
                Setting(one, sites, arguments.rounds, arguments.steps, folder / "scratch") for one in (cfg, other)
            )
            for arm, train in arms(setting, siglip, banks).items():
                started = time.process_time()
                results.setdefault(arm, []).append(hits(setting, held_out, train()))
                took = time.process_time() - started
                seconds[arm] = seconds.get(arm, 0.0) + took
                print(
                    f"  seed {seed}: {arm}: {np.nanmean(results[arm][-1][PAIR]):.3f}, {took:.0f} s of CPU", flush=True
                )
        table(
            results, seconds, arguments.seeds[: arguments.seeds.index(seed) + 1]
        )  # so far: a long run may be cut short
    chance = K / np.mean([np.isfinite(hits_[PAIR]).sum() for hits_ in results["federated"]])
    print(f"chance: {chance:.3f}. A patient's privacy in the bank, delta {safe.delta:g}, of one release and of a run:")
    for name, bank in banks.items():
        spent = [bank.spent(count).epsilon for count in (1, arguments.rounds - 1)]
        print(f"  {name}: noise {bank.deviation:.2f}, epsilon {spent[0]:.0f} and {spent[1]:.0f}")


if __name__ == "__main__":
    main()
