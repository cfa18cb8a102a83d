"""How far answers can be relied on at hospitals held out of the real glioma cohort, and what is no patient's input.

`python scripts/bench/abstention.py --pretrained runs/glioma/imagenet` (an encoder of experiment=glioma_imagenet) fits
experts for IDH, 1p/19q, EGFR's expression and survival on the training hospitals, sets and limits included, and tests
them on the cohort's four test hospitals. Bars: 90 % regions hold 87 to 93 % of truths; at most 5 % of real patients are
out of distribution; garbage in a modality is told from held-out patients' real input with AUROC >= 0.95 by modality.
The embedded cohort: `--tasks demo --cohort data/demo --pretrained runs/demo/pretrain --features runs/demo/features`.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch

from finetune.assemble import build_head, task_modalities
from finetune.evaluation import Evaluator
from finetune.exact import fit_exactly
from finetune.features import FeatureCache
from finetune.metrics import area_under_curve
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from finetune.reliability.fit import Settings
from foundation.command import plain
from foundation.data.cohort import Cohort
from foundation.data.splits import configured_split
from foundation.encoder import MultimodalEncoder

TASKS = {
    "idh": ["recipe=glioma_idh"],
    "codel": ["recipe=glioma_codel"],
    "expression": ["cohort=tcga_glioma", "task=expression", "task.head.unit=zscore", "method=experts"],
    "survival": ["recipe=glioma_survival"],
    "demo": ["cohort=demo", "task=biomarker", "method=experts"],
}
GLIOMA = [task for task in TASKS if task != "demo"]
NAMES = ["pathology", "radiology", "genomics", "report", "record"]
REAL = 60  # held-out patients of a modality, beside whom garbage is told
Garble = Callable[[Any, np.random.Generator], Any]


def _images(make: Callable[[tuple[int, ...], np.random.Generator], np.ndarray]) -> Garble:
    return lambda images, rng: [make(np.shape(image), rng).astype(np.uint8) for image in images]


def _channel(change: Callable[[np.ndarray], np.ndarray]) -> Garble:
    return lambda raw, rng: {**raw, "expression": change(raw["expression"]).astype(np.float32)}


IMAGES: dict[str, Garble] = {
    "black": _images(lambda shape, rng: np.zeros(shape)),
    "noise": _images(lambda shape, rng: rng.integers(0, 256, shape)),
    "constant": _images(lambda shape, rng: np.full(shape, 200)),
}
GARBAGE: dict[str, dict[str, Garble]] = {
    "pathology": IMAGES,
    "radiology": IMAGES,
    "genomics": {
        "constant expression": _channel(lambda values: np.where(np.isnan(values), values, 0.0)),
        "expression times 10": _channel(lambda values: values * 10),
        "expression over 10": _channel(lambda values: values / 10),
    },
    "report": {"other words": lambda text, rng: "Left knee radiograph: no fracture, small effusion, mild arthrosis."},
    "record": {"age 500": lambda row, rng: {**row, "age": 500.0}},
}


class Bench:
    """One task on the cohort's split."""

    def __init__(self, arguments: argparse.Namespace, task: str) -> None:
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("finetune", [*TASKS[task], f"data.folder={arguments.cohort}", "pretrained=x"])
        self.task, self.cohort = task, Cohort(Path(arguments.cohort))
        encoder = MultimodalEncoder.from_pretrained(Path(arguments.pretrained) / "encoder")
        self.names = task_modalities(cfg.task, encoder)
        hidden = plain(cfg.task.drop_inputs) if cfg.task.drop_inputs else {}
        parts = configured_split(self.cohort, cfg.data)
        head = build_head(cfg.task, encoder.width, encoder.feature_sizes(self.names))
        train, validation, self.test = (
            patients_with_target(self.cohort, part, head, self.names, hidden)
            for part in (parts.train, parts.validation, parts.test)
        )
        counts = head.count(target_columns(self.cohort, train.patients, head))
        head.set_counts(counts)
        features = FeatureCache(Path(arguments.features), encoder, self.cohort, hidden)
        _, reliability = fit_exactly(features, head, train, validation, Settings(**plain(cfg.reliability)))
        described = {"name": task, "modalities": self.names, "drop_inputs": hidden}
        self.model = TaskModel(encoder, head, described, reliability)
        learnt = [*train.patients, *validation.patients]
        self.evaluator = Evaluator(
            self.model,
            self.cohort,
            learnt,
            self.test.patients,
            resamples=arguments.resamples,
            folder=Path(arguments.features),
        )

    def answers(self) -> list[str]:
        """Coverage, flags and abstention, overall and by hospital."""
        tables = self.evaluator.reliability()
        rows = {"all": tables["overall"], **tables["by_hospital"], **tables["by_modality"]}
        lines = [f"{self.task}: {len(self.test)} patients of hospitals held out"]
        for name, row in rows.items():
            figures = ", ".join(
                f"{label} {_shown(row[figure])}"
                for label, figure in (
                    ("coverage", "coverage"),
                    ("size", "region_size"),
                    ("abstained", "abstained"),
                    ("flagged", "out_of_distribution"),
                    ("risk answered", "risk_answered"),
                    ("of all", "risk"),
                )
            )
            lines.append(f"  {name:24} n {row['n']:3}  {figures}")
        coverage, flagged = (tables["overall"][name]["value"] for name in ("coverage", "out_of_distribution"))
        if coverage is not None:
            lines.append(f"  bar coverage 0.87 to 0.93: {coverage:.3f} {_verdict(0.87 <= coverage <= 0.93)}")
        lines.append(f"  bar flagged at most 0.05: {flagged:.3f} {_verdict(flagged <= 0.05)}")
        return lines

    def garbage(self) -> list[str]:
        """AUROC of garbage against held-out patients' own input, by modality and kind."""
        lines = ["garbage against real input of held-out patients, AUROC (share flagged)"]
        for name, kinds in GARBAGE.items():
            patients = [patient for patient in self.test.patients if self.cohort.patients.at[patient, name]][:REAL]
            raw = [self.test.sample(patient)[name] for patient in patients]
            if name == "genomics":
                raw = [values for values in raw if not np.isnan(values["expression"]).all()]
            real, areas = self._novelty(name, raw), []
            for kind, garble in kinds.items():
                rng = np.random.default_rng(0)
                scores = self._novelty(name, [garble(copy.copy(values), rng) for values in raw])
                label = np.repeat([0.0, 1.0], [len(real), len(scores)])
                areas.append(area_under_curve(label, np.concatenate([real, scores])))
                lines.append(f"  {name:10} {kind:20} {areas[-1]:.3f} ({(scores > 1).mean():.2f})")
            met = _verdict(min(areas) >= 0.95)
            lines.append(f"  {name:10} worst {min(areas):.3f} bar 0.95: {met}; real flagged {(real > 1).mean():.3f}")
        return lines

    @torch.no_grad()
    def _novelty(self, modality: str, raw: list[Any]) -> np.ndarray:
        assert self.model.reliability is not None
        parts = []
        for start in range(0, len(raw), 16):
            samples = [{modality: values} for values in raw[start : start + 16]]
            reading = self.model.read(self.model.encoder.encode_samples(samples))
            parts.append(self.model.reliability.novelty_of(reading.features, reading.present))
        return torch.cat(parts)[:, self.names.index(modality)].double().numpy()


def _shown(interval: dict[str, Any]) -> str:
    if interval["value"] is None:
        return "–"
    span = "" if interval["low"] is None else f" ({interval['low']:.2f}–{interval['high']:.2f})"
    return f"{interval['value']:.3f}{span}"


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", default="runs/glioma/imagenet", help="of experiment=glioma_imagenet")
    parser.add_argument("--cohort", default="data/tcga_glioma")
    parser.add_argument("--features", default="runs/glioma/features", help="where they are kept")
    parser.add_argument("--tasks", nargs="+", default=GLIOMA, choices=list(TASKS))
    parser.add_argument("--resamples", type=int, default=500)
    arguments = parser.parse_args()
    lines: list[str] = []
    for task in arguments.tasks:
        bench = Bench(arguments, task)
        lines += bench.answers() + (bench.garbage() if task == arguments.tasks[0] else [])
        print("\n".join(lines), flush=True)
        lines = [line for line in lines if "bar" in line]
    print(f"bars met: {sum(' met' in line for line in lines)} of {len(lines)}")


if __name__ == "__main__":
    main()
