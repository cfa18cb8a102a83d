"""The folds of a cross-validation: each a split, whose test patients nobody who trains it has seen."""

from dataclasses import replace

import numpy as np
from omegaconf import DictConfig

from finetune.heads.base import Head
from foundation.data.cohort import Cohort
from foundation.data.split_file import split_source
from foundation.data.splits import Split, read_split, split, split_folds
from foundation.errors import UserError


def cross_validation(cohort: Cohort, cfg: DictConfig, head: Head) -> list[tuple[str, Split]]:
    """Names and splits of all folds, as `by` asks for them.

    Args:
        cohort: prepared.
        cfg: of `python -m finetune.crossvalidate`.
        head: whose first target strata share out, where it is a label.

    Raises:
        UserError: if there is no such way, or too little to fold.
    """
    apart = list(cfg.data.test_hospitals or [])
    fraction, seed = cfg.data.validation_fraction, cfg.data.split_seed
    ways = {"hospital": _by_hospital, "folds": _by_folds, "files": _by_file}
    if cfg.by not in ways:
        raise UserError(f"by: found {cfg.by!r}; choose from {', '.join(ways)}")
    folds = ways[cfg.by](cohort, cfg, head, apart, fraction, seed)
    out = set(cohort.patients.index[cohort.patients["hospital"].isin(apart)])
    return [
        (name, Split(*([one for one in part if one not in out] for part in (fold.train, fold.validation, fold.test))))
        for name, fold in folds
    ]


def _by_hospital(
    cohort: Cohort, cfg: DictConfig, head: Head, apart: list[str], fraction: float, seed: int
) -> list[tuple[str, Split]]:
    hospitals = [name for name in cohort.hospitals if name not in apart]
    if len(hospitals) < 2:
        raise UserError(f"by: {len(hospitals)} hospital to leave out; set by=folds, or data.test_hospitals=[]")
    return [(name, split(cohort, [name], fraction, seed)) for name in hospitals]


def _by_folds(
    cohort: Cohort, cfg: DictConfig, head: Head, apart: list[str], fraction: float, seed: int
) -> list[tuple[str, Split]]:
    first = head.targets[0]
    stratify = cfg.data.stratify or (first if first in cohort.dictionary.labels else None)
    return [
        (
            f"repeat {repeat + 1}, fold {fold + 1}",
            split_folds(cohort, cfg.data.folds, fold, stratify, fraction, seed + repeat),
        )
        for repeat in range(cfg.repeats)
        for fold in range(cfg.data.folds)
    ]


def _by_file(
    cohort: Cohort, cfg: DictConfig, head: Head, apart: list[str], fraction: float, seed: int
) -> list[tuple[str, Split]]:
    if not cfg.split_files:
        raise UserError("split_files: none; name the table of each fold, with patient_id and part")
    folds = []
    for path in cfg.split_files:
        fold = read_split(cohort, split_source(path))
        if not fold.validation:  # official folds often say train and test alone
            order = np.random.default_rng(seed).permutation(len(fold.train))
            count = round(fraction * len(fold.train))
            chosen = {fold.train[index] for index in order[:count]}
            rest = [patient for patient in fold.train if patient not in chosen]
            fold = replace(fold, train=rest, validation=sorted(chosen))
        folds.append((str(path), fold))
    return folds


def fold_config(cfg: DictConfig, number: int) -> DictConfig:
    """The config of one fold's training, which writes into a folder of its own."""
    fold = cfg.copy()
    kept = cfg.embeddings  # all folds share what is computed once
    fold.output = f"{cfg.output}/folds/{number}"
    fold.embeddings = kept
    fold.reliability = None  # folds are judged by what they predict
    return fold
