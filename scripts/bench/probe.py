"""Epochs of a linear probe on a frozen encoder: from embeddings that are kept, beside encoding anew.

`python scripts/bench/probe.py` prepares the embedded cohort, writes an encoder of the demo's size (its weights do not
matter to time), and trains the same head with `frozen=true` in both ways, in turn. The first epoch from kept
embeddings includes encoding every patient once.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip  # before Lightning: lets torchvision load on a CPU-only torch
import hydra
import torch
from commands import run
from pytorch_lightning.callbacks import Callback
from trainers import changed_trainers

from finetune.assemble import build_head
from finetune.fit import fit
from finetune.patients import patients_with_target
from foundation.data.cohort import Cohort
from foundation.data.splits import configured_split
from foundation.encoder import MultimodalEncoder
from pretrain.assemble import build_encoder


class EpochTimer(Callback):
    """Seconds of each epoch without validation, and the head's loss in it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._since)
        self._since = now


def composed(command: str, cohort: Path, *settings: str) -> Any:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose(command, [f"data.folder={cohort}", "progress=false", *settings])


def epochs(cohort: Path, encoder: Path, output: Path, count: int, *settings: str) -> tuple[list[float], torch.Tensor]:
    """Seconds of each epoch, and the head's weights at the end."""
    prepared = Cohort(cohort)
    settings = ("frozen=true", "data.modality_dropout=0.0", "validate_every=0", "checkpoint_every=0", *settings)
    cfg = composed("finetune", cohort, "pretrained=x", f"output={output}", "speed_every=0", "loggers=[]", *settings)
    parts = configured_split(prepared, cfg.data)
    torch.manual_seed(0)
    model = MultimodalEncoder.from_pretrained(encoder)
    head = build_head(cfg.task, model.width)
    train, validation = (
        patients_with_target(prepared, part, head, list(model.modalities), {})
        for part in (parts.train, parts.validation)
    )
    cfg.steps = count * (len(train) // cfg.data.batch_size)
    timer = EpochTimer()
    with changed_trainers(lambda trainer: trainer.callbacks.append(timer)):
        module, _ = fit(cfg, model, head, train, validation)
    weights = [value.detach().flatten() for value in module.head.parameters()]
    return timer.seconds, torch.cat(weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--encoder", default="tiny", help="of configs/encoder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={folder}/cohort")
        cfg = composed("pretrain", folder / "cohort", "experiment=demo", f"encoder={arguments.encoder}")
        build_encoder(cfg, Cohort(folder / "cohort").dictionary).save_pretrained(folder / "encoder")
        seconds: dict[str, list[float]] = {"anew": [], "first": [], "kept": []}
        for turn in range(arguments.rounds):
            paths = folder / "cohort", folder / "encoder"
            anew, one = epochs(*paths, folder / f"anew{turn}", arguments.epochs, "embeddings=null")
            kept, other = epochs(*paths, folder / f"kept{turn}", arguments.epochs)
            seconds["anew"] += anew[1:]
            seconds["first"] += kept[:1]
            seconds["kept"] += kept[1:]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"encoding anew     {1000 * medians['anew']:10.1f} ms an epoch from the second on")
    print(f"kept embeddings   {1000 * medians['first']:10.1f} ms the first epoch, every patient encoded once")
    print(f"kept embeddings   {1000 * medians['kept']:10.1f} ms an epoch from the second on")
    print(f"largest difference of the head's weights: {float((one - other).abs().max()):.1e}")
    print(f"second epoch on: {medians['anew'] / medians['kept']:.0f}× as fast (bar: at least 20×)")


if __name__ == "__main__":
    main()
