"""Quality on the embedded cohort, hospital held out: retrieval after federated pretraining, then the biomarker head.

`python scripts/bench/demo.py --seeds 0 1 2` draws a cohort and trains anew for each seed. The settings were chosen
on the cohort of seed 1; the bar is read from seed 0, the one that ships.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from commands import run, with_interval

PAIRS = ("pathology_to_genomics", "radiology_to_genomics")


def measure(seed: int, folder: Path) -> dict[str, float]:
    """Figures of one seed."""
    cohort = f"data.folder={folder}/cohort"
    run(
        "foundation.data prepare",
        "cohort=demo",
        f"cohort.source.seed={seed}",
        f"cohort.root={folder}/raw",
        f"output={folder}/cohort",
    )
    run("pretrain.federated", "experiment=demo", cohort, f"seed={seed}", f"output={folder}/pretrain")
    run(
        "finetune",
        "task=biomarker",
        cohort,
        f"seed={seed}",
        f"pretrained={folder}/pretrain",
        f"output={folder}/biomarker",
        "progress=false",
    )
    run("finetune.evaluate", f"run={folder}/biomarker", f"output={folder}/evaluation")
    held_out = json.loads((folder / "pretrain" / "history.json").read_text())["rounds"][-1]["evaluation"]["summit"]
    evaluation = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    figures = {}
    for pair in PAIRS:
        recall, chance = held_out[f"{pair}/r@5"], held_out[f"{pair}/chance@5"]
        figures[f"{pair} × chance"] = recall / chance
        print(f"  seed {seed}: {pair} R@5 {recall:.3f}, chance {chance:.3f}, {recall / chance:.1f}×")
    for name, group in evaluation["by_modality"].items():
        figures[f"AUC {name}"] = group["auc"]["value"]
        print(f"  seed {seed}: biomarker AUC, {name}: {with_interval(group['auc'])}")
    print(f"  seed {seed}: age and sex: {with_interval(evaluation['baseline']['auc'])}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    seeds = parser.parse_args().seeds
    by_seed = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="consilium-bench-") as folder:
            by_seed[seed] = measure(seed, Path(folder))
    print(f"\n{'held-out hospital, seeds ' + ' '.join(map(str, seeds)):44}{'median':>8}{'least':>8}")
    for name in by_seed[seeds[0]]:
        values = [figures[name] for figures in by_seed.values()]
        print(f"{name:44}{statistics.median(values):8.2f}{min(values):8.2f}")
    print("bars (seed 0): image→gene retrieval ≥ 5 × chance; AUC ≥ 0.80 with all, each modality alone > 0.60")


if __name__ == "__main__":
    main()
