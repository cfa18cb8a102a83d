"""Any subset of modalities beside its own model and every baseline, on hospitals held out of the real glioma cohort.

`python scripts/bench/subsets.py --pretrained runs/glioma/imagenet` (an encoder of experiment=glioma_imagenet) fits, for
IDH, 1p/19q and survival, a model of all modalities and one of each alone, and tests them on the cohort's four
test hospitals. Two rules: all modalities >= each baseline on one modality - 0.005, on the same patients; each modality
of the whole model >= its own model - 0.01. Experts hold no chance, so a seed beyond the first draws nine tenths of
the training patients. Intervals: 95 %, bootstrap of patients, all training patients.
"""

import argparse
import importlib.metadata
from functools import partial
from pathlib import Path

import hydra
import numpy as np

from finetune.assemble import build_head
from finetune.baselines.comparison import Comparison
from finetune.exact import fit_exactly
from finetune.features import FeatureCache, feature_scores
from finetune.figures import Figures, Resampling, figures
from finetune.heads.base import Head
from finetune.metrics import Column
from finetune.patients import patients_with_target, target_columns
from foundation.command import plain
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.splits import configured_split
from foundation.encoder import MultimodalEncoder
from foundation.files import write_json
from foundation.statistics.figure import Support

TASKS = ("idh", "codel", "survival")
BARS = {("idh", "pathology"): 0.87, ("codel", "pathology"): 0.84, ("survival", "pathology"): 0.74}
BARS |= {("survival", "pathology,report,record"): 0.84, ("idh", "all"): 0.96, ("survival", "all"): 0.87}
NAMES = ["pathology", "radiology", "genomics", "report", "record"]


class Bench:
    """One task on the cohort's split."""

    def __init__(self, arguments: argparse.Namespace, task: str) -> None:
        with hydra.initialize_config_module("configs", version_base="1.3"):
            self.cfg = hydra.compose("finetune", [f"recipe=glioma_{task}", f"data.folder={arguments.cohort}"])
        self.task, self.resamples = task, arguments.resamples
        self.cohort = Cohort(Path(arguments.cohort))
        self.encoder = MultimodalEncoder.from_pretrained(Path(arguments.pretrained) / "encoder")
        self.hidden = plain(self.cfg.task.drop_inputs) if self.cfg.task.drop_inputs else {}
        self.features = FeatureCache(Path(arguments.features), self.encoder, self.cohort, self.hidden)
        self.parts = configured_split(self.cohort, self.cfg.data)
        self.lines: list[str] = []
        self.rows: list[dict[str, object]] = []

    def fitted(self, names: list[str], seed: int = 0) -> tuple[Head, PatientDataset]:
        """A model of some modalities, and its test patients."""
        head = build_head(self.cfg.task, self.encoder.width, self.encoder.feature_sizes(names))
        parts = [self.parts.train, self.parts.validation, self.parts.test]
        if seed:
            drawn = np.random.default_rng(seed).random(len(parts[0])) < 0.9
            parts[0] = [patient for patient, kept in zip(parts[0], drawn, strict=True) if kept]
        train, validation, test = (patients_with_target(self.cohort, part, head, names, self.hidden) for part in parts)
        fit_exactly(self.features, head, train, validation)
        return head.eval(), test

    def score(self, head: Head, patients: list[str], names: list[str], shown: list[str]) -> tuple[float, str]:
        """The primary metric, with its interval in words; its figure stays in `last`."""
        estimates = feature_scores(head, self.features.subset(patients, names, shown))
        shown_figure = self.figures(head, patients, estimates, self.resamples).figure(next(iter(head.metrics())))
        self.last = shown_figure
        value = np.nan if shown_figure.value is None else shown_figure.value
        return value, f"{value:.3f} ({_number(shown_figure.low)} – {_number(shown_figure.high)})"

    def figures(self, head: Head, patients: list[str], estimates: Column, resamples: int) -> Figures:
        """Of a model that ranks these patients."""
        targets = target_columns(self.cohort, patients, head)
        hospitals = self.cohort.patients.loc[patients, "hospital"].tolist()
        resampling = Resampling(Support(), resamples, 0)
        return figures(head.statistics().ranking(), targets, estimates, patients, hospitals, resampling)

    def add(self, name: str, value: float, words: str, against: str = "") -> None:
        bar = BARS.get((self.task, name))
        judged = "" if bar is None else f"  bar {bar:.2f}: {'met' if value >= bar else 'missed'}"
        self.lines.append(f"  {name:44} {words}{judged}{against}")

    def keep(self, name: str, value: float | None, low: float | None, high: float | None, n: int, **facts: str) -> None:
        """A figure for the record."""
        row = {"id": f"{self.task}/{name}", "value": value, "low": low, "high": high, "n": n, "split": "test"}
        self.rows.append(row | facts)

    def run(self, seeds: int) -> list[str]:
        """Lines of the table; one that holds `broken` breaks a rule, one that holds `missed` a bar."""
        whole, test = self.fitted(NAMES)
        self.lines = [f"{self.task}: {len(test)} patients of hospitals held out"]
        self.add("all", *self.score(whole, test.patients, NAMES, NAMES))
        omics = [patient for patient in test.patients if self.cohort.patients.at[patient, "genomics"]]
        measured = ~np.isnan(self.features.of(omics, ["genomics"])[:, : len(self.cohort.dictionary.genes)]).all(axis=1)
        omics = [patient for patient, there in zip(omics, measured, strict=True) if there]
        self.add(f"all, the {len(omics)} with expression", *self.score(whole, omics, NAMES, NAMES))
        self.add("pathology,report,record", *self.score(whole, test.patients, NAMES, ["pathology", "report", "record"]))
        for name in NAMES:
            own, patients = self.fitted([name])
            theirs = self.score(own, patients.patients, [name], [name])
            ours = self.score(whole, patients.patients, NAMES, [name])
            kept = ours[0] >= theirs[0] - 0.01
            figure = self.last
            self.add(name, *ours, f"  own model {theirs[0]:.3f}: {'kept' if kept else 'broken'}")
            facts = {"estimator": figure.estimator, "interval": str(figure.interval)}
            self.keep(f"{name} alone", figure.value, figure.low, figure.high, figure.n, **facts)
        self._baselines(whole, test.patients)
        values = [self.score(*self._again(seed))[0] for seed in range(seeds)]
        pathology = [self.score(*self._again(seed, ["pathology"]))[0] for seed in range(seeds)]
        for label, some in (("all", values), ("pathology", pathology)):
            shown = len(test) if label == "all" else sum(self.cohort.patients.loc[test.patients, label].astype(bool))
            interval = f"range over {seeds} seeds, value of the first"
            self.keep(f"{label}, seeds", some[0], min(some), max(some), shown, interval=interval)
            self.lines.append(
                f"  {label} over {seeds} seeds: {min(some):.3f} to {max(some):.3f}, mean {np.mean(some):.3f}"
            )
        return self.lines

    def _again(self, seed: int, shown: list[str] | None = None) -> tuple[Head, list[str], list[str], list[str]]:
        head, test = self.fitted(NAMES, seed)
        shown = shown or NAMES
        who = test.cohort.patients.loc[test.patients, shown].astype(bool).any(axis=1)
        return head, [patient for patient in test.patients if who[patient]], NAMES, shown

    def _baselines(self, head: Head, test: list[str]) -> None:
        estimates = feature_scores(head, self.features.of(test, NAMES))
        usable = patients_with_target(
            self.cohort, [*self.parts.train, *self.parts.validation], head, NAMES, self.hidden
        )
        compared = Comparison(
            head, self.features, NAMES, usable.patients, test, estimates, partial(self.figures, head, resamples=0), 0
        )
        for name, row in compared.baselines().items():
            metric = next(iter(head.metrics()))
            theirs, ours = row[metric]["value"], row["model"][metric]["value"]
            verdict = "kept" if ours >= theirs - 0.005 else "broken"
            self.keep(f"baseline/{name}", theirs, None, None, row["n"])
            self.lines.append(f"  baseline {name}, n = {row['n']}: {theirs:.3f}, model there {ours:.3f}: {verdict}")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", default="runs/glioma/imagenet", help="of experiment=glioma_imagenet")
    parser.add_argument("--cohort", default="data/tcga_glioma")
    parser.add_argument("--features", default="runs/glioma/features", help="where they are kept")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--record", help="JSON file to keep the figures in, such as scripts/bench/records/subsets.json")
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    lines: list[str] = []
    rows: list[dict[str, object]] = []
    for task in arguments.tasks:
        bench = Bench(arguments, task)
        some = bench.run(arguments.seeds)
        rows += bench.rows
        facts = {"cohort": bench.cohort.name, "digest": bench.cohort.digest}
        print("\n".join(some), flush=True)
        lines += some
    broken, missed = (sum(word in line for line in lines) for word in ("broken", "missed"))
    if arguments.record:
        command = f"python scripts/bench/subsets.py --tasks {' '.join(arguments.tasks)} --seeds {arguments.seeds}"
        record = {"command": command, "code": importlib.metadata.version("consilium"), "data": facts, "figures": rows}
        write_json(Path(arguments.record), record, sort_keys=False)
    print(f"rules broken: {broken} (bar: 0); figures below their bar: {missed} (bar: 0)")


if __name__ == "__main__":
    main()
