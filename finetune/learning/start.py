"""Where a run goes on from a release: what it starts at, and who is new to it."""

import hashlib
from pathlib import Path

from omegaconf import DictConfig

from finetune.learning.hospital_sums import keeps_sums
from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.errors import UserError
from foundation.lineage import trained_on


def goes_on(cfg: DictConfig) -> bool:
    """Whether a run starts at a release of its task, and not at an encoder alone."""
    return cfg.get("learning") is not None or (cfg.method == "sums" and keeps_sums(Path(cfg.pretrained)))


def patients_to_learn(cfg: DictConfig, cohort: Cohort, parts: Split) -> Split:
    """The split without training and validation patients whom the release, or what it builds on, has learned from.

    All patients of hospitals that `sums.forget` names are new: what was kept of them goes.
    """
    if not goes_on(cfg):
        return parts
    hospital = cohort.patients["hospital"]
    again = set(hospital.index[hospital.isin(list(cfg.sums.forget) if cfg.method == "sums" else [])])
    known = {patient for one in trained_on(Path(cfg.pretrained))[0] for patient in one.patients} - again
    train, validation = ([one for one in part if one not in known] for part in (parts.train, parts.validation))
    return Split(train, validation, parts.test)


def release_digest(folder: Path) -> str:
    """SHA-256 of a release's head: beside its encoder, what a run that goes on from it starts at."""
    path = folder / "head.safetensors"
    if not path.is_file():
        raise UserError(f"pretrained: {folder} holds no task model to go on from; give one, or set learning=null")
    return hashlib.sha256(path.read_bytes()).hexdigest()
