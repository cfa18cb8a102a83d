"""Targets that follow from genomics: a gene's expression, a signature of several, the number of genes mutated."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from finetune.heads.base import Head
from foundation.data.cohort import Cohort
from foundation.errors import UserError

_MODALITY = "genomics"
_FORM = re.compile(r"(expression)\.(.+)|(mutations)\.(count)")


def derive_targets(
    cohort: Cohort, head: Head, modalities: Sequence[str], drop_inputs: Mapping[str, Sequence[str]]
) -> None:
    """Adds to the cohort's patients the columns of targets that follow from genomics.

    `expression.EGFR` is the gene's expression, `expression.MKI67+TOP2A` the mean of several, known where all are;
    `mutations.count` how many of the genes that were sequenced are mutated.

    Args:
        cohort: prepared.
        head: whose targets they are.
        modalities: that the task may look at.
        drop_inputs: by genomics channel, symbols hidden from it.

    Raises:
        UserError: if a gene is not of the cohort, the task may look at what it is to predict, or the unit is another.
    """
    for name in head.targets:
        match = _FORM.fullmatch(name)
        if match and name not in cohort.dictionary.labels:
            channel = str(match[1] or match[3])
            genes = match[2].split("+") if match[2] else list(cohort.dictionary.genes)
            _check(cohort, head, name, channel, genes, drop_inputs if _MODALITY in modalities else None)
            if name not in cohort.patients:
                cohort.patients = cohort.patients.assign(**{name: _values(cohort, channel, genes)})


def _check(
    cohort: Cohort,
    head: Head,
    name: str,
    channel: str,
    genes: list[str],
    hidden: Mapping[str, Sequence[str]] | None,
) -> None:
    absent = [gene for gene in genes if gene not in cohort.dictionary.genes]
    if absent:
        raise UserError(f"task.head.target: '{name}': {cohort.name} has no gene {absent[0]}; choose of its genes")
    shown = [] if hidden is None else [gene for gene in genes if gene not in hidden.get(channel, ())]
    if shown:
        raise UserError(
            f"task.drop_inputs: '{name}' would be read off its own input; hide it (task.drop_inputs="
            f"{{{channel}: [{shown[0]}{', ...' if shown[1:] else ''}]}}), or leave {_MODALITY} out of task.modalities"
        )
    unit = cohort.dictionary.expression_unit
    if channel == "expression" and head.unit not in (None, unit):
        raise UserError(f"task.head.unit: found {head.unit!r}, but {cohort.name} has expression in {unit}")


def _values(cohort: Cohort, channel: str, genes: list[str]) -> np.ndarray:
    """Of all patients, `[patients]`; NaN where it was not measured."""
    has = cohort.patients[_MODALITY].astype(bool).to_numpy()
    patients = cohort.patients.index[has]
    places = [cohort.dictionary.genes.index(gene) for gene in genes]
    values = np.full(len(has), np.nan)
    rows = np.stack([raw[channel][places] for raw in cohort.values(patients, _MODALITY)]) if has.any() else None
    if rows is not None and channel == "expression":
        values[has] = rows.astype(np.float64).mean(axis=1)
    elif rows is not None:
        values[has] = np.where(np.isnan(rows).all(axis=1), np.nan, np.nansum(rows > 0, axis=1))
    return values
