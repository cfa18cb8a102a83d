"""Figures of added hospital tables beside those of all patients in one place, and beside the libraries.

`python scripts/bench/sums.py --data ../shared/data/tcga_glioma` takes the real hospitals of the glioma cohort: age as
the risk of death and, by logistic regression on age, sex and diagnosis (fitted on Henry Ford, tested on all others),
the probability of an IDH mutation. Each hospital counts its own tables; they are added, and held against the pooled
tables, lifelines and scikit-learn, and against what a size-weighted mean of hospitals would say. Also what tables weigh
and the seconds that they and their figures take, bootstrap included.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from lifelines.utils import concordance_index
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from finetune.statistics.base import Column, Tables, TaskStatistics
from finetune.statistics.binary import BinaryStatistics
from finetune.statistics.survival import SurvivalStatistics
from foundation.statistics.figure import Support
from foundation.statistics.table import total
from foundation.statistics.weights import poisson_weights

TRAINED = "Henry Ford Hospital"
SUPPORT = Support()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tcga_glioma"))
    parser.add_argument("--replicates", type=int, default=50)
    arguments = parser.parse_args()
    table = patients(arguments.data)
    died = table.dropna(subset=["OS", "OS.time", "age"])
    labelled = table[table["idh"].isin([0, 1])].dropna(subset=["age"])
    chance = idh_chance(labelled)
    tested = labelled[labelled["hospital"] != TRAINED]
    risk = (died["age"].to_numpy(dtype=float) - 50) / 10
    targets = {"event": died["OS"].to_numpy(dtype=float), "days": died["OS.time"].to_numpy(dtype=float)}
    label = {"idh": tested["idh"].to_numpy(dtype=float)}
    worst = [
        compare(
            "survival by age",
            SurvivalStatistics("event", "days", [365, 1095, 1825]),
            targets,
            risk,
            died,
            arguments.replicates,
            {"c_index": lambda t, s: concordance_index(t["days"], -s, t["event"])},
        ),
        compare(
            "IDH by age, sex and diagnosis",
            BinaryStatistics("idh", "mutant"),
            label,
            chance,
            tested,
            arguments.replicates,
            {
                "auc": lambda t, s: roc_auc_score(t["idh"], s),
                "auprc": lambda t, s: average_precision_score(t["idh"], s),
            },
        ),
    ]
    print(f"largest difference of a federated figure from the pooled one: {max(worst):.1e} (bar: 1e-10)")


def patients(folder: Path) -> pd.DataFrame:
    """Of the cohort, a row a patient: hospital, outcomes, age, sex and diagnosis."""
    record = pd.read_csv(folder / "clinical_tcga_cdr.csv").set_index("case_id")
    table = pd.read_csv(folder / "patients.csv").set_index("case_id")
    return table.assign(
        age=record["age_at_initial_pathologic_diagnosis"].reindex(table.index),
        male=(record["gender"].reindex(table.index) == "MALE").astype(float),
        glioblastoma=(table["type"] == "GBM").astype(float),
    )


def idh_chance(table: pd.DataFrame) -> Column:
    """Probability of a mutation for the hospitals that the model was not fitted on."""
    inside = table["hospital"] == TRAINED
    inputs = table[["age", "male", "glioblastoma"]].to_numpy(dtype=float) / [10, 1, 1]
    model = LogisticRegression().fit(inputs[inside], table["idh"][inside])
    return np.asarray(model.predict_proba(inputs[~inside])[:, 1])


def compare(
    title: str,
    statistics: TaskStatistics,
    targets: dict[str, Column],
    scores: Column,
    table: pd.DataFrame,
    replicates: int,
    libraries: dict[str, Callable[[dict[str, Column], Column], float]],
) -> float:
    """Prints a task's figures side by side; the largest difference of added tables from pooled ones."""
    hospitals, ids = table["hospital"].to_numpy(), np.asarray(table.index)
    weights = poisson_weights(ids.tolist(), replicates, "bench")
    start = time.perf_counter()
    parts: list[Tables] = []
    for name in np.unique(hospitals):
        inside = hospitals == name
        rows = {key: values[inside] for key, values in targets.items()}
        parts.append(statistics.tables(rows, scores[inside], hospitals[inside].tolist(), weights[:, inside]))
    counted = time.perf_counter()
    added = statistics.measures({name: total(part[name] for part in parts) for name in parts[0]}, SUPPORT)
    done = time.perf_counter()
    pooled = statistics.measures(statistics.tables(targets, scores, hospitals.tolist(), weights), SUPPORT)
    size = sum(array.nbytes for part in parts[0].values() for array in part.to_arrays().values())
    print(f"{title}: {len(ids)} patients, {len(parts)} hospitals, {replicates} replicates; {size / 2**20:.1f} MiB each")
    print(
        f"  {counted - start:.2f} s to count at all hospitals, {done - counted:.2f} s to add and work out all figures"
    )
    gaps = [np.abs(added[name].values - pooled[name].values) for name in pooled]
    mean = site_mean(statistics, targets, scores, hospitals, next(iter(libraries.values())))
    exact = statistics.exact(targets, scores)
    unrounded = exact.measures(exact.tables(targets, scores, hospitals.tolist()), SUPPORT)
    for name, measure in unrounded.items():
        beside = f", library {libraries[name](targets, scores):.9f}" if name in libraries else ""
        print(f"  {name}: exact {measure.values[0]:.9f}{beside}; added on the grid {added[name].values[0]:.6f}")
    print(f"  size-weighted mean of hospitals' {next(iter(libraries))}: {mean:.4f}")
    return float(max(np.nanmax(gap) for gap in gaps if np.isfinite(gap).any()))


def site_mean(
    statistics: TaskStatistics,
    targets: dict[str, Column],
    scores: Column,
    hospitals: Column,
    library: Callable[[dict[str, Column], Column], float],
) -> float:
    """What others report: the mean of hospitals' own figures by their size, where they have one."""
    values, sizes = [], []
    for name in np.unique(hospitals):
        inside = hospitals == name
        rows = {key: column[inside] for key, column in targets.items()}
        measure = statistics.measures(statistics.tables(rows, scores[inside], hospitals[inside].tolist()), SUPPORT)
        value = measure[statistics.primary].values[0]
        if np.isfinite(value):
            values.append(library(rows, scores[inside]))
            sizes.append(inside.sum())
    return float(np.average(values, weights=sizes))


if __name__ == "__main__":
    main()
