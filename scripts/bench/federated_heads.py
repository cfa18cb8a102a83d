"""Heads across the glioma hospitals beside pooled heads on the same encoder, and the mean of each hospital's own.

`python scripts/bench/federated_heads.py --cohort data/tcga_glioma --pretrained runs/glioma/pretrain` trains, for each
seed, IDH and survival heads on the frozen encoder: pooled, as `python -m finetune` does; across hospitals by FedAvg, as
`python -m finetune.federated` does, one site after another in this process; survival also by exact federated Cox; and
at each training hospital alone, where it has two classes, or events, to learn from. All arms share learning rate, batch
and steps, and nothing is chosen here. Figures are of the test hospitals' patients together: AUROC, and Harrell's C; and
what the hospitals fitted of how far answers can be relied on: coverage of 90 % sets, abstention, and who is told as out
of distribution. Bars: federated within 0.01 of pooled, and above the mean of local heads; sets hold 87 to 93 % of
truths, and at most 5 % of patients are out of distribution.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import foundation  # noqa: F401  # isort: skip
import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from finetune.assemble import build_head, encoder_folder
from finetune.features import FeatureCache
from finetune.federated.assemble import settle
from finetune.federated.features import embeddings, targets_of
from finetune.federated.task import Finetuning
from finetune.fit import fit
from finetune.heads.base import Head
from finetune.predictor import TaskModel
from finetune.reliability.evaluation import answer_columns
from finetune.reliability.module import Reading
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine.trainer import seeded
from foundation.errors import UserError
from foundation.federation.runtime.command import federate

BAR = 0.01
QUIET = ["progress=false", "loggers=[]", "speed_every=0", "checkpoint_every=0", "data.modality_dropout=0.0"]
TASKS = {"idh": "auc", "survival": "c_index"}
PLAIN = ["reliability=null", "calibration=null"]
NEWTON = ["cox={method: newton, ridge: 10}", *PLAIN]
RANGES = {"coverage": (0.87, 0.93), "out of distribution": (0.0, 0.05)}


class Bench:
    """One task: its hospitals, its test patients as embeddings, and the arms of a seed."""

    def __init__(self, arguments: argparse.Namespace, task: str, scratch: Path) -> None:
        self.arguments = arguments
        self.task = task
        self.scratch = scratch
        whole = Finetuning(self.federated_config(0))
        self.whole = whole
        held_out = set(whole.cfg.data.test_hospitals)
        self.sites = [site for site in whole.cohort.hospitals if site not in held_out and self.patients(site)[0]]
        module = whole.build()
        self.test = whole.usable(whole.split.test)
        self.fused = embeddings(module, self.test, scratch / "test")
        self.features = FeatureCache(arguments.features, module.encoder, self.test.cohort, self.test.drop_inputs)
        self.reliability: list[dict[str, float]] = []
        self.columns = [values.double().numpy() for values in targets_of(self.test).values()]

    def federated_config(self, seed: int, *more: str) -> DictConfig:
        options = self.arguments
        output = self.scratch / "runs" / f"{self.task}-{seed}"
        shutil.rmtree(output, ignore_errors=True)
        settings = [f"task={self.task}", "cohort=tcga_glioma", f"data.folder={options.cohort}", "federation=serial"]
        settings += [f"pretrained={options.pretrained}", f"output={output}", f"seed={seed}", f"rounds={options.rounds}"]
        settings += [f"steps_per_round={options.steps}", f"optimizer.learning_rate={options.rate}", *QUIET, *more]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("finetune_federated", settings)
        settle(cfg)
        return cfg

    def patients(self, site: str) -> tuple[list[str], list[str]]:
        """A hospital's train and validation patients whose target is known."""
        table = self.whole.cohort.patients["hospital"]
        train, validation = self.whole.dataset("train").patients, self.whole.validation.patients
        return [p for p in train if table[p] == site], [p for p in validation if table[p] == site]

    def federated(self, seed: int, *more: str) -> float:
        """Rounds over the training hospitals."""
        if seed not in self.arguments.relied:
            more = (*more, *PLAIN)
        cfg = self.federated_config(seed, f"sites=[{','.join(self.sites)}]", "data.test_hospitals=[]", *more)
        for site in self.sites:  # embeddings are computed once for all seeds
            home = Path(cfg.output) / "sites" / site
            home.mkdir(parents=True)
            (home / "site.yaml").write_text(f"name: {site}\nstate: {self.scratch / 'state' / self.task / site}\n")
        with contextlib.redirect_stdout(io.StringIO()):
            federate(cfg, "python -m finetune.federated")
        model = TaskModel.load(Path(cfg.output))
        if model.reliability is not None:
            self.reliability.append(self._relied_on(model))
        return self.figure(model.head)

    @torch.no_grad()
    def _relied_on(self, model: TaskModel) -> dict[str, float]:
        """Of the test patients' answers: shares of truths inside their sets, of abstentions, and of flags."""
        assert model.reliability is not None
        names, patients = self.test.modalities, self.test.patients
        present = torch.from_numpy(self.test.cohort.patients.loc[patients, names].to_numpy(dtype=bool))
        features = torch.from_numpy(self.features.of(patients, names)).float()
        reading = Reading(model.scores_of(self.fused, present), present, features)
        targets = {name: values.double().numpy() for name, values in targets_of(self.test).items()}
        truths, inside, size, flagged, abstained, *_ = answer_columns(
            model.reliability, model.head.regions(), reading, targets
        ).T
        shares = {"coverage": inside.sum() / truths.sum(), "size": size.mean()} if truths.any() else {}
        return {**shares, "abstained": abstained.mean(), "out of distribution": flagged.mean()}

    def alone(self, seed: int, sites: list[str]) -> float | None:
        """The ordinary fine-tuning run on some hospitals' patients together; None where nothing can be learnt."""
        parts = [self.patients(site) for site in sites]
        train, validation = ([patient for part in parts for patient in part[place]] for place in (0, 1))
        options, total = self.arguments, self.arguments.rounds * self.arguments.steps
        settings = [f"task={self.task}", "cohort=tcga_glioma", f"data.folder={options.cohort}", f"seed={seed}"]
        settings += [f"pretrained={options.pretrained}", "frozen=true", f"steps={total}", "validate_every=0"]
        settings += [f"optimizer.learning_rate={options.rate}", f"embeddings={self.scratch / 'embeddings'}", *QUIET]
        settings += [f"output={self.scratch / 'alone'}"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("finetune", settings)
        encoder = MultimodalEncoder.from_pretrained(encoder_folder(options.pretrained)[0])
        with seeded(seed):
            head = build_head(cfg.task, encoder.width)
        known = self.whole.dataset("train")
        datasets = [
            PatientDataset(known.cohort, part, known.modalities, known.targets, known.drop_inputs)
            for part in (train, validation)
        ]
        columns = {name: values.double().numpy() for name, values in targets_of(datasets[0]).items()}
        try:
            counts = head.count(columns)
            head.check(counts)
            head.set_counts(counts)
            module, _ = fit(cfg, encoder, head, *datasets)
        except UserError:
            return None
        return self.figure(module.head)

    @torch.no_grad()
    def figure(self, head: Head) -> float:
        """AUROC or C of all test patients together."""
        estimates: Tensor = head.eval().float().estimate(head(self.fused))
        return head.metrics()[TASKS[self.task]].value(*self.columns, estimates.double().numpy())

    def arms(self) -> dict[str, Callable[[int], float | None]]:
        arms: dict[str, Callable[[int], float | None]] = {
            "pooled": lambda seed: self.alone(seed, self.sites),
            "federated, FedAvg": self.federated,
            "local, mean": self._local,
        }
        if self.task == "survival":
            arms["federated, exact Cox"] = lambda seed: self.federated(seed, *NEWTON)
        return arms

    def _local(self, seed: int) -> float:
        figures = [self.alone(seed, [site]) for site in self.sites]
        return mean(figure for figure in figures if figure is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, default=Path("data/tcga_glioma"), help="prepared")
    parser.add_argument("--pretrained", type=Path, required=True, help="output folder of a pretraining run")
    parser.add_argument("--features", type=Path, help="folder that keeps plain features by digest")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--relied", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="seeds whose sets are fitted")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10, help="of a round, at each site")
    parser.add_argument("--tasks", choices=list(TASKS), nargs="+", default=list(TASKS))
    parser.add_argument("--rate", type=float, default=5e-3, help="learning rate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as scratch:
        for task in arguments.tasks:
            bench = Bench(arguments, task, Path(scratch))
            print(f"{task} ({TASKS[task]}), {len(bench.test)} test patients, {len(bench.sites)} training hospitals")
            figures = {}
            for name, arm in bench.arms().items():
                figures[name] = [arm(seed) for seed in arguments.seeds]
                known = [value for value in figures[name] if value is not None]
                spread = stdev(known) if len(known) > 1 else float("nan")
                told = f"{mean(known):.4f} (SD over seeds {spread:.4f}; {np.round(known, 3).tolist()})"
                print(f"  {name}: {told}", flush=True)
            pooled, local = (mean(filter(None, figures[name])) for name in ("pooled", "local, mean"))
            for name in (name for name in figures if name.startswith("federated")):
                apart = mean(filter(None, figures[name])) - pooled
                met = apart >= -BAR and apart + pooled > local
                missed += not met
                print(f"  {name}: {apart:+.4f} of pooled, {apart + pooled - local:+.4f} of local: {_word(met)}")
            for name in bench.reliability[0] if bench.reliability else []:
                shares = [one[name] for one in bench.reliability]
                low, high = RANGES.get(name, (-np.inf, np.inf))
                met = low <= mean(shares) <= high
                missed += not met
                bar = f" bar {low} to {high}: {_word(met)}" if name in RANGES else ""
                print(f"  federated, FedAvg, {name}: {mean(shares):.3f} ({np.round(shares, 3).tolist()}){bar}")
    raise SystemExit(1 if missed else 0)


def _word(met: bool) -> str:
    return "met" if met else "not met"


if __name__ == "__main__":
    main()
