"""The whole path on the real glioma cohort: federated pretraining by hospital, two heads, export, request, card.

`python scripts/bench/glioma.py --root ../shared/data/tcga_glioma --output runs/glioma` prints seconds by step, then the
figures on hospitals left out of training beside the baseline of age and sex.
"""

import argparse
import json
from pathlib import Path

from commands import run, with_interval

from foundation.ports import free_ports


def path(root: str, folder: Path, seed: int) -> float:
    """Seconds of the whole path."""
    data = ["cohort=tcga_glioma", f"data.folder={folder}/cohort", f"seed={seed}"]
    pretrained = f"pretrained={folder}/pretrain"
    seconds = run("foundation.data prepare", "cohort=tcga_glioma", f"cohort.root={root}", f"output={folder}/cohort")
    seconds += run("pretrain.federated", "experiment=glioma", *data[1:], f"output={folder}/pretrain")
    for task in ("survival", "idh"):
        seconds += run("finetune", f"task={task}", *data, pretrained, f"output={folder}/{task}", "progress=false")
        seconds += run("finetune.evaluate", f"run={folder}/{task}", f"output={folder}/{task}-evaluation")
    held_out = json.loads((folder / "survival" / "split.json").read_text())["test"][0]
    seconds += run("serve.export", f"run={folder}/survival", f"output={folder}/export", f"example={held_out}")
    (port,) = free_ports(1)
    seconds += run("serve", f"bundle={folder}/export", f"output={folder}/serve", f"port={port}", "wait=false")
    try:
        seconds += run("serve.predict", f"{folder}/export/patient.json", f"server={folder}/serve")
    finally:
        run("serve", "action=stop", f"output={folder}/serve")
    evaluations = f"evaluation=[{folder}/survival-evaluation,{folder}/idh-evaluation]"
    judgement = f"judgement={Path(__file__).with_name('glioma_judgement.yaml')}"
    return seconds + run("serve.card", evaluations, judgement, f"output={folder}/card", "name=consilium-glioma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="../shared/data/tcga_glioma")
    parser.add_argument("--output", default="runs/glioma")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(arguments.output)
    seconds = path(arguments.root, folder, arguments.seed)
    print(f"\nhospitals held out, seed {arguments.seed}")
    for task, metric in (("survival", "c_index"), ("idh", "auc")):
        evaluation = json.loads((folder / f"{task}-evaluation" / "evaluation.json").read_text())
        print(f"{task}: {evaluation['n']} patients, {evaluation['events']} events or positive")
        for name, group in [*evaluation["by_hospital"].items(), *evaluation["by_modality"].items()]:
            value = with_interval(group[metric]) if group[metric]["value"] is not None else "not defined"
            print(f"  {metric} {name:24} n = {group['n']:4}  {value}")
        print(f"  {metric} {'age and sex':24} n = {evaluation['n']:4}  {with_interval(evaluation['baseline'][metric])}")
        print(
            f"  {metric} {'gain over age and sex':24}           {with_interval(evaluation['baseline']['gain'][metric])}"
        )
    print(f"whole path: {seconds / 60:.1f} min (bar: under 25 min on two cores)")


if __name__ == "__main__":
    main()
