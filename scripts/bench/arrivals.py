"""The real glioma cohort's hospitals arriving one after another: what each way to learn on keeps and gains.

`python scripts/bench/arrivals.py --cohort data/tcga_glioma --pretrained runs/glioma/imagenet` deals each training
hospital's patients to folds. A fold's own are tested, never learned from; the cohort's test hospitals take no part. The
first hospital makes a release, and each later one is learned from by a run that goes on from the release before it, by
`python -m finetune` as a user runs it. Two families, each beside training anew on all patients at the end:

- experts of all modalities on frozen features (anew: `method=experts`, and `method=sums` of all hospitals at once),
  hospital by hospital by `method=sums`;
- a head with an encoder (genomics, report and record, begun at random; anew: `method=steps`): the first release trains
  both, later runs the head alone (`sequential`, `replay`, `distillation`, `pull`, `fisher`) or additions to the fusion,
  too (`lora`).

Figures are shares of right pairs (AUC, Harrell's C), of patients of one fold, so that no two models are mixed; of one
hospital, of its own pairs. Settings are the shipped ones. Bar: at the end within 0.01 of training anew on all, and each
hospital's figure, where it has ten of each outcome, at most 0.02 below the best that it had so far.
"""

import argparse
import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from finetune.__main__ import train_head
from finetune.features import FeatureCache, feature_scores
from finetune.patients import patients_with_target
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.data.dataset import Collate
from foundation.files import write_json

ORDER = ("henry_ford", "case_western_st_joes", "duke", "md_anderson", "others", "ucsf")  # the largest first
WAYS = ("sums", "sequential", "replay", "distillation", "pull", "fisher", "lora")
PLAIN = ["genomics", "report", "record"]  # of the encoder that is trained: images would take it hours here
STEPS = 60
QUIET = ["progress=false", "loggers=[]", "speed_every=0", "checkpoint_every=0", "calibration=null", "reliability=null"]
OUTCOMES = 10
Pairs = NDArray[np.float64]  # `[2]`: right ones, all


class Bench:
    """One task: its runs by fold, and the test patients' scores."""

    def __init__(self, arguments: argparse.Namespace, task: str) -> None:
        self.arguments, self.task = arguments, task
        self.cohort = Cohort(Path(arguments.cohort))
        self.event, self.time = ("os_event", "os_days") if task == "survival" else (task, None)
        table = self.cohort.patients
        table = table[table["hospital"].isin(ORDER) & table[self.event].notna()]
        self.table = table if self.time is None else table[table[self.time].notna()]
        rng = np.random.default_rng(0)
        fold = pd.Series(-1, index=self.table.index)
        for hospital in ORDER:
            rows = self.table.index[self.table["hospital"] == hospital]
            dealt = rng.permutation(rows)
            dealt = dealt[np.argsort(self.table.loc[dealt, self.event].to_numpy(dtype=float), kind="stable")]
            fold[dealt] = np.arange(len(dealt)) % arguments.folds
        self.fold = fold
        self.features: FeatureCache | None = None

    def run(self, name: str, fold: int, hospitals: Sequence[str], *overrides: str, release: str | Path) -> Path:
        """A run of `python -m finetune`; its folder."""
        output = Path(self.arguments.output) / self.task / str(fold) / name
        if (output / "task.json").is_file():
            return output
        learned = self.table.index[self.table["hospital"].isin(hospitals) & (self.fold != fold)]
        part = pd.Series("test", index=self.cohort.patients.index, name="part")
        part[learned] = "train"
        for hospital in hospitals:  # the same patients at each stage
            theirs = [one for one in learned if self.table.at[one, "hospital"] == hospital]
            part[np.random.default_rng(1).permutation(theirs)[: max(1, len(theirs) // 7)]] = "validation"
        split = output.parent / f"{name}.csv"
        split.parent.mkdir(parents=True, exist_ok=True)
        part.rename_axis("patient_id").to_csv(split)
        settings = [f"task={self.task}", "cohort=tcga_glioma", f"data.folder={self.arguments.cohort}", *QUIET]
        settings += ["data.test_hospitals=[]", f"data.split_file={split}", f"pretrained={release}", f"output={output}"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("finetune", [*settings, *overrides])
        with contextlib.redirect_stdout(io.StringIO()):
            train_head(cfg)
        return output

    def experts(self) -> list[str]:
        """Settings of the first family."""
        return [f"embeddings={self.arguments.features}"]

    def anew(self, fold: int, family: str) -> Path:
        """Training anew on all hospitals."""
        if family == "sums":
            return self.run("sums-anew", fold, ORDER, "method=sums", *self.experts(), release=self.arguments.pretrained)
        if family == "experts":
            return self.run(
                "experts", fold, ORDER, "method=experts", *self.experts(), release=self.arguments.pretrained
            )
        return self.run("anew", fold, ORDER, *self.steps(), release=self.arguments.untrained)

    def steps(self) -> list[str]:
        """Settings of the second family."""
        return [f"steps={STEPS}", f"task.modalities=[{','.join(PLAIN)}]", "data.modality_dropout=0.0"]

    def stages(self, way: str, fold: int) -> Iterator[Path]:
        """Releases of one way, a hospital more each."""
        if way == "sums":
            release = Path(self.arguments.pretrained)
            for stage in range(1, len(ORDER) + 1):
                release = self.run(
                    f"sums-{stage}", fold, ORDER[:stage], "method=sums", *self.experts(), release=release
                )
                yield release
            return
        keeps = ["keeps={memory: 1000, information: true}"]
        release = self.run("first", fold, ORDER[:1], *self.steps(), *keeps, release=self.arguments.untrained)
        yield release
        frozen = f"frozen={str(way != 'lora').lower()}"
        more = keeps if way in ("replay", "fisher") else []
        for stage in range(2, len(ORDER) + 1):
            settings = [*self.steps(), *more, f"learning={way}", frozen]
            release = self.run(f"{way}-{stage}", fold, ORDER[:stage], *settings, release=release)
            yield release

    @torch.no_grad()
    def scores(self, run: Path, patients: Sequence[str]) -> NDArray[np.float64]:
        """What a release says of patients, NaN of whom it can say nothing."""
        model = TaskModel.load(run)
        names, hidden = model.task["modalities"], model.task["drop_inputs"]
        dataset = patients_with_target(self.cohort, list(patients), model.head, names, hidden)
        if model.head.reads_features:
            if self.features is None:
                self.features = FeatureCache(Path(self.arguments.features), model.encoder, self.cohort, hidden)
            values = feature_scores(model.head, self.features.of(dataset.patients, names))
        else:
            batch = Collate(model.encoder, train=False, seed=0)([dataset[place] for place in range(len(dataset))])
            values = model.head.estimate(model.head(model.encoder(batch).fused)).numpy().astype(np.float64)
        return pd.Series(values, index=dataset.patients).reindex(list(patients)).to_numpy()

    def pairs(self, run: Path, fold: int, stage: int) -> dict[str, Pairs]:
        """Right pairs and all of a fold's test patients: of each hospital that has come, and of all of them."""
        come = self.table[self.table["hospital"].isin(ORDER[:stage]) & (self.fold == fold)]
        scores = pd.Series(self.scores(run, come.index.tolist()), index=come.index).dropna()
        come = come.loc[scores.index]
        counted = {"all": self._pairs(come, scores)}
        for hospital in ORDER[:stage]:
            theirs = come[come["hospital"] == hospital]
            counted[hospital] = self._pairs(theirs, scores[theirs.index])
        return counted

    def _pairs(self, table: pd.DataFrame, scores: "pd.Series[float]") -> Pairs:
        event = table[self.event].to_numpy(dtype=float) == 1
        time = np.where(event, 0.0, 1.0) if self.time is None else table[self.time].to_numpy(dtype=float)
        comes_first = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
        ahead = scores.to_numpy()[:, None] - scores.to_numpy()
        return np.array([(comes_first * ((ahead > 0) + 0.5 * (ahead == 0))).sum(), comes_first.sum()])

    def enough(self, hospital: str) -> bool:
        """Whether a hospital has as many of each outcome as its figure needs."""
        outcome = self.table.loc[self.table["hospital"] == hospital, self.event]
        return min((outcome == 1).sum(), (outcome == 0).sum()) >= OUTCOMES or (
            self.time is not None and (outcome == 1).sum() >= OUTCOMES
        )

    def figures(self, runs: Callable[[int], Iterator[tuple[int, Path]]]) -> dict[int, dict[str, float]]:
        """By stage, the figure of each hospital that has come, and of all, over folds."""
        sums: dict[int, dict[str, Pairs]] = {}
        for fold in range(self.arguments.folds):
            for stage, run in runs(fold):
                for name, counted in self.pairs(run, fold, stage).items():
                    of_stage = sums.setdefault(stage, {})
                    of_stage[name] = of_stage.get(name, np.zeros(2)) + counted
        return {
            stage: {name: float(one[0] / one[1]) for name, one in of.items() if one[1]} for stage, of in sums.items()
        }

    def at_once(self, family: str) -> dict[str, float]:
        """Figures of training anew on all."""
        return self.figures(lambda fold: iter([(len(ORDER), self.anew(fold, family))]))[len(ORDER)]


def judged(bench: Bench, way: str, anew: dict[str, dict[str, float]]) -> dict[str, Any]:
    """A way's row: at the end, beside training anew, and the most that a hospital lost."""
    by_stage = bench.figures(lambda fold: enumerate(bench.stages(way, fold), start=1))
    last = by_stage[len(ORDER)]
    lost = {
        name: max(by_stage[stage][name] for stage in by_stage if name in by_stage[stage]) - last[name]
        for name in ORDER[:-1]
        if name in last and bench.enough(name)
    }
    beside = anew["sums" if way == "sums" else "steps"]["all"]
    worst = max(lost, key=lambda name: lost[name])
    first = {"first release": by_stage[1]["all"], "its hospital now": last[ORDER[0]]}
    row = {"way": way, "end": last["all"], "anew": beside, "lost": lost[worst], "by": worst, **first}
    return {**row, "met": last["all"] >= beside - 0.01 and lost[worst] <= 0.02, "stages": by_stage}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", default="data/tcga_glioma")
    parser.add_argument("--pretrained", default="runs/glioma/imagenet", help="of experiment=glioma_imagenet")
    parser.add_argument("--untrained", default="runs/glioma/plain", help="the same with untrained=true and no images")
    parser.add_argument("--features", default="runs/glioma/features", help="where they are kept")
    parser.add_argument("--output", default="runs/glioma/arrivals", help="where runs are kept, and taken up")
    parser.add_argument("--tasks", nargs="+", default=["idh", "survival"], choices=["idh", "codel", "survival"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--record", help="JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed, tables = 0, {}
    for task in arguments.tasks:
        bench = Bench(arguments, task)
        families = {"sums" if way == "sums" else "steps" for way in arguments.ways}
        families |= {"experts"} & ({"experts"} if "sums" in families else set())
        anew = {name: bench.at_once(name) for name in sorted(families)}
        print(f"{task}: {len(bench.table)} patients of {len(ORDER)} hospitals, {arguments.folds} folds")
        for name, figures in anew.items():
            print(f"  anew on all, {name:28} {figures['all']:.3f}", flush=True)
        rows = []
        for way in arguments.ways:
            row = judged(bench, way, anew)
            rows.append(row)
            words = f"{row['end']:.3f} ({row['end'] - row['anew']:+.3f} beside anew)"
            words += f", most lost {row['lost']:+.3f} by {row['by']}"
            print(f"  {way:14} {words}: {'met' if row['met'] else 'missed'}", flush=True)
        missed += sum(not row["met"] for row in rows)
        tables[task] = {"anew": anew, "ways": rows}
    if arguments.record:
        write_json(Path(arguments.record), {"order": ORDER, "folds": arguments.folds, "tasks": tables}, sort_keys=False)
    print(f"ways that miss the bar: {missed} of {len(arguments.ways) * len(arguments.tasks)}")


if __name__ == "__main__":
    main()
