"""What of a hospital its H&E features carry, and whether taking it away helps at hospitals never seen.

`python scripts/bench/harmonisation.py` reads the regions of the real gliomas with the network of
experiment=glioma_imagenet, harmonises them in several ways, and fits a ridge to each: every training hospital is left
out in turn, and ranked by a fit that has not seen it (penalty included). The hospital is told from the same features by
a ridge over random fifths of patients; by chance its balanced accuracy is one over their number. Differences from
features as they are carry the 95 % interval of a bootstrap over patients. Test hospitals are read by nothing here, so
layers of the network can be chosen by it, too: `--layers blocks.3.3 blocks.4.2 blocks.3.3+blocks.4.2 --ways none`.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import foundation  # noqa: F401  # isort: skip  # before timm: lets torchvision load on a CPU-only torch
import hydra
import numpy as np
import torch
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from finetune.experts.blocks import Axes
from finetune.experts.responses import Hazard, Label, Response
from finetune.experts.ridge import PENALTIES, hospital_folds, linear, ridge
from foundation.data.cohort import Cohort
from foundation.files import write_json
from foundation.modalities.extractor import FeatureExtractor

Floats = NDArray[np.float64]
TASKS = {"IDH": "idh", "1p/19q": "codel", "survival": "os_event"}
STAINS = (None, "reinhard", "macenko")
WAYS = ("none", "reinhard", "macenko", "stain augmentation", "by hospital", "hospital erased")
_SHRINK = 0.1


class Features:
    """H&E of the training hospitals' patients.

    Attributes:
        patients: who have any.
        hospitals: of them, `[patients]`.
        values: the mean over a patient's regions by stain normalisation, `[patients, size]`.
    """

    def __init__(self, cohort: Cohort, layers: str, weights: Path, kept: Path, test: list[str]) -> None:
        rows = cohort.patients[cohort.patients["pathology"] & ~cohort.patients["hospital"].isin(test)]
        self.patients, self.hospitals = rows.index.tolist(), rows["hospital"].to_numpy(dtype=str)
        self._cohort, self._layers, self._weights, self._kept = cohort, layers, weights, kept

    def values(self, stain: str | None) -> Floats:
        """Read once and kept on disk."""
        facts = json.dumps([self._layers, stain, self.patients, self._cohort.digest])
        path = self._kept / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npy"
        if not path.is_file():
            extractor = FeatureExtractor(
                "mobilenetv2_100",
                str(self._weights),
                {"pad_type": "same"},
                size=224,
                mean=[0.5] * 3,
                std=[0.5] * 3,
                interpolation="bilinear",
                layers=self._layers.split("+"),
                flips=True,
                stain=stain,
            )
            means = [
                extractor.encode(list(tiles)).mean(axis=0) for tiles in self._cohort.values(self.patients, "pathology")
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.stack(means))
        return np.asarray(np.load(path), dtype=np.float64)


def by_hospital(values: Floats, hospitals: NDArray[np.str_]) -> Floats:
    """Each hospital's own mean and spread taken off, which it knows without a label; a small one's mostly pooled."""
    result = np.empty_like(values)
    pooled = values.std(axis=0)
    for name in np.unique(hospitals):
        rows = hospitals == name
        trust = rows.sum() / (rows.sum() + 20)
        spread = np.sqrt(trust * values[rows].var(axis=0) + (1 - trust) * pooled**2)
        result[rows] = (values[rows] - values[rows].mean(axis=0)) / np.maximum(spread, 1e-6)
    return result


def directions(design: Floats, hospitals: NDArray[np.str_]) -> Floats:
    """What takes the directions off in which hospitals' means differ: a linear reader then sees none (LEACE; Belrose
    et al. 2023), `[size, size]`."""
    centred = design - design.mean(axis=0)
    covariance = centred.T @ centred / len(design)
    covariance += _SHRINK * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variance, axes = np.linalg.eigh(covariance)
    whiten, colour = axes / np.sqrt(variance) @ axes.T, axes * np.sqrt(variance) @ axes.T
    means = np.stack([centred[hospitals == name].mean(axis=0) for name in np.unique(hospitals)]) @ whiten
    _, strength, across = np.linalg.svd(means, full_matrices=False)
    across = across[strength > 1e-9]
    return np.asarray(np.eye(len(covariance)) - whiten @ across.T @ across @ colour)


class Way:
    """One way to harmonise: what is learnt from, what is ranked, and what is taken off them."""

    def __init__(self, name: str, features: Features) -> None:
        self.name, self.hospitals = name, features.hospitals
        raw = features.values(name if name in STAINS else None)
        self.values = by_hospital(raw, features.hospitals) if name == "by hospital" else raw
        self.copies = [self.values]
        if name == "stain augmentation":
            self.copies += [features.values(stain) for stain in STAINS if stain]

    def ranked(self, response: Response) -> Floats:
        """Scores of patients by fits without their hospital, NaN where the response is not known."""
        scores = np.full(len(self.values), np.nan)
        rows = np.flatnonzero(response.known)
        for fold in hospital_folds(self.hospitals[rows]):
            out, rest = rows[fold], np.setdiff1d(rows, rows[fold])
            fit = self._fit(rest, response)
            scores[out] = fit(self.values[out])
        return scores

    def _fit(self, rows: NDArray[np.int_], response: Response) -> Callable[[Floats], Floats]:
        """A ridge whose penalty is chosen by leaving out each of the hospitals that are left."""
        axes = Axes.of(np.concatenate([copy[rows] for copy in self.copies]))
        off = np.eye(axes.rotation.shape[1])
        if self.name == "hospital erased":
            off = directions(axes.project(self.values[rows]), self.hospitals[rows])
        copies = [axes.project(copy[rows]) @ off for copy in self.copies]

        def fitted(part: NDArray[np.int_], penalty: float) -> Floats:
            design = np.concatenate([copy[part] for copy in copies])
            return ridge(design, response.of(np.tile(rows[part], len(copies))), penalty * len(copies))

        folds = hospital_folds(self.hospitals[rows])
        everybody = np.arange(len(rows))
        gain = dict.fromkeys(PENALTIES[2:], 0.0)
        for penalty in gain:
            for fold in folds:
                beta = fitted(np.setdiff1d(everybody, fold), penalty)
                gain[penalty] += response.of(rows[fold]).log_likelihood(linear(copies[0][fold], beta))
        beta = fitted(everybody, max(gain, key=lambda penalty: gain[penalty]))
        return lambda values: linear(axes.project(values) @ off, beta)

    def hospital_read(self) -> float:
        """Balanced accuracy with which the hospital is told from a patient's features."""
        design = Axes.of(self.values).project(self.values)
        if self.name == "hospital erased":
            design = design @ directions(design, self.hospitals)
        probe = LogisticRegression(C=0.1, max_iter=2000)
        told = cross_val_predict(probe, design, self.hospitals, cv=StratifiedKFold(5, shuffle=True, random_state=0))
        return float(balanced_accuracy_score(self.hospitals, told))


def figure(task: str, rows: NDArray[np.int_], scores: Floats, cohort: Cohort, patients: list[str]) -> float:
    """AUROC, or Harrell's C, of some patients."""
    who = cohort.patients.loc[[patients[row] for row in rows]]
    if task == "survival":
        return float(concordance_index(who["os_days"], -scores[rows], who["os_event"]))
    return float(roc_auc_score(who[TASKS[task]].astype(float), scores[rows]))


def response_of(task: str, cohort: Cohort, patients: list[str]) -> Response:
    who = cohort.patients.loc[patients]
    event = who[TASKS[task]].to_numpy(dtype=np.float64, na_value=np.nan)
    if task == "survival":
        return Hazard(event, who["os_days"].to_numpy(dtype=np.float64, na_value=np.nan))
    return Label(event)


def interval(values: list[float]) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return f"({low:+.3f} – {high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", default="data/tcga_glioma", help="prepared folder of cohort=tcga_glioma")
    parser.add_argument("--weights", default="../shared/data/weights/mobilenetv2_100.imagenet.safetensors")
    parser.add_argument("--layers", nargs="+", default=["blocks.3.3+blocks.4.2"], help="of the network; + joins two")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--features", default="runs/glioma/harmonisation", help="folder where features are kept")
    parser.add_argument("--resamples", type=int, default=300, help="of patients, for intervals")
    parser.add_argument("--json", help="file for the rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cohort = Cohort(Path(arguments.cohort))
    with hydra.initialize_config_module("configs", version_base="1.3"):
        test = list(hydra.compose("finetune", ["recipe=glioma_idh"]).data.test_hospitals)
    table = []
    print(f"{'layers':24}{'way':20}{'hospital':>9}" + "".join(f"{task:>28}" for task in TASKS), flush=True)
    first: dict[str, Floats] = {}
    for layers in arguments.layers:
        features = Features(cohort, layers, Path(arguments.weights), Path(arguments.features), test)
        for name in arguments.ways:
            way = Way(name, features)
            row: dict[str, object] = {"layers": layers, "way": name, "hospital": way.hospital_read()}
            for task in TASKS:
                response = response_of(task, cohort, features.patients)
                scores = way.ranked(response)
                reference = first.setdefault(task, scores)
                rows = np.flatnonzero(~np.isnan(scores))
                value = figure(task, rows, scores, cohort, features.patients)
                generator, differences = np.random.default_rng(0), []
                for _ in range(arguments.resamples if reference is not scores else 0):
                    drawn = generator.choice(rows, len(rows))
                    both = [figure(task, drawn, one, cohort, features.patients) for one in (scores, reference)]
                    differences.append(both[0] - both[1])
                row[task] = f"{value:.3f} {interval(differences) if differences else ''}".strip()
            table.append(row)
            print(
                f"{layers:24}{name:20}{row['hospital']:9.3f}" + "".join(f"{row[task]!s:>28}" for task in TASKS),
                flush=True,
            )
    if arguments.json:
        write_json(Path(arguments.json), {"rows": table, "patients": len(features.patients)})


if __name__ == "__main__":
    main()
