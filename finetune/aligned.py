"""Embeddings that pretraining aligned across modalities: of a patient, and whether text is among them."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from finetune.heads.zero_shot import TEXT
from foundation.batch import Batch
from foundation.errors import UserError
from foundation.lineage import trained_groups
from foundation.objectives.alignment import Alignment
from foundation.output import EncoderOutput
from foundation.run_record import read_run


def aligned(output: EncoderOutput, batch: Batch, modalities: Sequence[str]) -> Float[Tensor, "batch width"]:
    """Mean of the embeddings of what each patient has of some modalities, of unit length."""
    total = output.fused.new_zeros(len(batch), next(iter(output.embeddings.values())).shape[1])
    for name in modalities:
        if name in output.embeddings:
            embedding = output.embeddings[name].to(total.dtype)
            total = total.index_add(0, batch.rows(name).to(total.device), embedding)
    return functional.normalize(total, dim=1)


def check_aligned(runs: Sequence[Path], modalities: Sequence[str]) -> None:
    """Refuses an encoder of whose run record no pretraining tells that it aligned text with what the task looks at.

    Args:
        runs: that made the encoder; none where only its folder is known.
        modalities: that the task looks at.

    Raises:
        UserError: saying what is missing.
    """
    records = [read_run(run) for run in runs]
    trains = [record for record in records if str(record["command"]).startswith("python -m pretrain")]
    if not trains or not any(_aligns(record["config"].get("objective") or {}) for record in trains):
        raise UserError(
            "pretrained: no run record tells that the encoder's text was aligned with other modalities; give the "
            "output folder of a pretraining run with objective=default, siglip or full"
        )
    if any(record["config"].get("untrained") for record in trains):
        raise UserError("pretrained: the run left the encoder untrained, so no text is aligned; pretrain it")
    groups = trained_groups(records)
    missing = [name for name in (TEXT, *modalities) if groups and name not in groups]
    if missing:
        raise UserError(
            f"pretrained: no patient of the pretraining run had {missing[0]}, so it is aligned with nothing; leave it "
            "out of task.modalities, or pretrain on a cohort that has it"
        )


def _aligns(objectives: object) -> bool:
    """Whether an objective of a run's config is an alignment over pairs of modalities."""
    targets = [str(part.get("_target_", "")) for part in objectives.values()] if isinstance(objectives, dict) else []
    for target in targets:
        module, _, name = target.rpartition(".")
        if module.startswith("foundation.objectives."):
            kind = getattr(importlib.import_module(module), name, None)
            if isinstance(kind, type) and issubclass(kind, Alignment):
                return True
    return False
