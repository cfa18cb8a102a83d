"""Federated against pooled and local pretraining on the real glioma cohort, read at hospitals that nobody trained on.

`python scripts/bench/glioma_sites.py --cohort data/tcga_glioma` trains anew for each seed, one site after another in
this process: pooled; federated with FedAvg by modality; federated with plain FedAvg, where a site that lacks a modality
counts with a change of zero; federated with a bank of the other hospitals' embeddings, protected and hardly so; and
each hospital alone. All arms share the config of `experiment=glioma_alignment`. A hospital's step takes `--batch` of
its patients, the pooled run's 128, and the pooled run takes twice as many steps as a hospital, so that both see about
as many patients in all.

Encoders stay frozen, and simple readers are fitted, for every arm alike, on the training hospitals' train patients:
survival from the fused embedding of whatever a patient has (Cox, on 16 principal components), IDH from pathology images
(logistic), and how often a patient's genes are among the ten nearest to the images. Prints means over seeds with 95 %
intervals (Student's t), and differences seed by seed. `--part validation` reads validation patients of the training
hospitals instead: settings are chosen there. A finished arm is kept in `--output` and not trained again.
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
import pandas as pd
import torch
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index
from omegaconf import DictConfig
from safetensors.numpy import load_file
from sites import QUIET, Setting, alone, federated, with_gaps
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foundation.arrays import write_arrays
from foundation.data.splits import Split
from foundation.federation.weights.types import Weights
from foundation.run_record import digest_of
from pretrain.assemble import load_cohort
from pretrain.controls.figures import Reading
from pretrain.controls.table import interval
from pretrain.federated.bank.settings import BankSettings
from pretrain.fit import build_module

FIGURES = {"survival C-index": "survival/c_index", "IDH AUC": "idh/linear_auc", "R@10": "pathology_to_genomics/r@10"}
COMPONENTS, PENALTY = 16, 0.1
_SHARED = {"modalities": ("pathology", "genomics")}
BANKS = {
    "bank, epsilon 8": BankSettings.read(**_SHARED, epsilon=8.0),
    "bank, noise 0.05 alone": BankSettings.read(**_SHARED, noise=0.05),
}
BAR = 0.02

Found = dict[str, dict[int, dict[str, float]]]  # by arm, by seed, by figure


def compose(cohort: Path, seed: int, overrides: list[str]) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        common = ["experiment=glioma_alignment", f"data.folder={cohort}", f"seed={seed}", *QUIET]
        return hydra.compose("pretrain", [*common, *overrides])


def arms(setting: Setting, pooled_batch: int, pooled_steps: int) -> dict[str, Callable[[], Weights]]:
    """By name, what trains."""
    batch = setting.cfg.data.batch_size
    return {
        "pooled": functools.partial(alone, setting, setting.sites, pooled_batch, pooled_steps),
        "federated by modality": functools.partial(federated, setting),
        "federated, plain": functools.partial(federated, setting, update=with_gaps),
        **{f"federated, {name}": functools.partial(federated, setting, bank=bank) for name, bank in BANKS.items()},
        **{f"local, {site}": functools.partial(alone, setting, [site], batch) for site in setting.sites},
    }


def read(cfg: DictConfig, weights: Weights, part: str) -> dict[str, float]:
    cohort, split = load_cohort(cfg)
    if part == "validation":
        split = Split(split.train, [], split.validation)
    encoder = build_module(cfg, weights, 0, 1).encoder
    reading = Reading(encoder, cohort, split, "pathology", "genomics", "idh")
    return reading.of_embeddings() | {"survival/c_index": c_index(reading)}


def c_index(reading: Reading) -> float:
    """Survival on test patients from fused embeddings, by a ridge-penalised Cox model of their principal components."""
    reduce = make_pipeline(StandardScaler(), PCA(COMPONENTS, random_state=0), StandardScaler())
    parts = {}
    for name in ("train", "test"):
        values, patients = reading.parts[name].of("fused")
        follow = reading.table.loc[patients, ["os_days", "os_event"]].astype(float)
        known = follow.notna().all(axis=1).to_numpy()
        values = reduce.fit_transform(values[known]) if name == "train" else reduce.transform(values[known])
        parts[name] = pd.DataFrame(values).rename(columns=str).assign(**follow[known].reset_index(drop=True))
    cox = CoxPHFitter(penalizer=PENALTY).fit(parts["train"], "os_days", "os_event")
    risk = cox.predict_partial_hazard(parts["test"])
    return float(concordance_index(parts["test"]["os_days"], -risk, parts["test"]["os_event"]))


def with_interval(values: list[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:6.3f}" + ("" if np.isnan(low) else f" ({low:6.3f} to {high:6.3f})")


def mean_of_local(results: Found, seeds: list[int]) -> dict[int, dict[str, float]]:
    """The hospitals that trained alone, averaged within each seed."""
    local = [by_seed for name, by_seed in results.items() if name.startswith("local, ")]
    return {seed: {key: float(np.mean([by[seed][key] for by in local])) for key in FIGURES.values()} for seed in seeds}


def table(results: Found, seeds: list[int]) -> None:
    shown: Found = {**results}
    if any(name.startswith("local, ") for name in results):
        shown = {"local, mean of hospitals": mean_of_local(results, seeds), **results}
    print(f"\nMean over seeds {' '.join(map(str, seeds))} (95 % interval)")
    print(f"{'':34}" + "".join(f"{name:>27}" for name in FIGURES))
    for arm, by_seed in shown.items():
        cells = [with_interval([by_seed[seed][key] for seed in seeds]) for key in FIGURES.values()]
        print(f"{arm:34}" + "".join(f"{cell:>27}" for cell in cells))
    print(
        f"\nFederated by modality less the other, seed by seed (bars: pooled at least -{BAR}, local and plain above 0)"
    )
    ours = shown["federated by modality"]
    for arm in ("pooled", "federated, plain", *(f"federated, {name}" for name in BANKS), "local, mean of hospitals"):
        if arm in shown:
            cells = [
                with_interval([ours[seed][key] - shown[arm][seed][key] for seed in seeds]) for key in FIGURES.values()
            ]
            print(f"{'less ' + arm:34}" + "".join(f"{cell:>27}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cohort", type=Path, required=True, help="prepared: foundation.data prepare cohort=tcga_glioma"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/glioma_sites"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="of each site a round")
    parser.add_argument("--batch", type=int, default=32, help="patients of a site's step")
    parser.add_argument("--pooled-batch", type=int, default=128)
    parser.add_argument("--pooled-steps", type=int, default=200)
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--arms", nargs="*", default=["pooled", "federated", "local"], help="by how their names begin")
    parser.add_argument("--overrides", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: Found = {}
    for done, seed in enumerate(arguments.seeds, 1):
        cfg = compose(arguments.cohort.resolve(), seed, [f"data.batch_size={arguments.batch}", *arguments.overrides])
        held_out = set(cfg.data.test_hospitals)
        sites = [name for name in load_cohort(cfg)[0].hospitals if name not in held_out]
        with tempfile.TemporaryDirectory(prefix="consilium-bench-") as scratch:
            setting = Setting(cfg, sites, arguments.rounds, arguments.steps, Path(scratch))
            for arm, train in arms(setting, arguments.pooled_batch, arguments.pooled_steps).items():
                if not arm.startswith(tuple(arguments.arms)):
                    continue
                shape = [arguments.rounds, arguments.steps, arguments.pooled_batch, arguments.pooled_steps, str(cfg)]
                kept = arguments.output / f"{digest_of([arm, *shape])[:16]}.safetensors"
                started = time.process_time()
                if not kept.is_file():
                    write_arrays(kept, train())
                figures = read(cfg, load_file(kept), arguments.part)
                results.setdefault(arm, {})[seed] = figures
                line = ", ".join(f"{name} {figures[key]:.3f}" for name, key in FIGURES.items())
                print(f"  seed {seed}: {arm}: {line}; {time.process_time() - started:.0f} s of CPU", flush=True)
        table(results, arguments.seeds[:done])  # so far: a long run may be cut short


if __name__ == "__main__":
    main()
