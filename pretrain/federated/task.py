"""Pretraining as a federated task; what trains is imported when it trains, for a server has no training stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from omegaconf import DictConfig

from foundation.data.dictionary import read_dictionary
from foundation.errors import UserError
from foundation.federation.statistics import SiteStatistics
from foundation.federation.statistics.pooling import gene_moments
from foundation.federation.task import Evaluation, FederatedTask, Part, RoundOptions, RoundResult
from foundation.federation.weights.types import Weights
from foundation.modalities.genomics.moments import FINAL
from pretrain.federated.bank.extension import EmbeddingBank
from pretrain.federated.settings import PretrainingSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from foundation.engine.drift_correction import DriftCorrection
    from foundation.engine.optimizer_state import OptimizerState
    from pretrain.module import PretrainModule

_GENOMICS = "encoder.modalities.genomics"
_STEADY = 10.0  # batches after which the running moments move by a tenth: from then on, a batch does not replace them


class Pretraining(FederatedTask):
    """The encoder and its objectives; patients are told apart by the modalities that they have."""

    name = "pretrain"
    state_keys = ("seed", "encoder", "modality", "objective", "optimizer")
    extension_class = EmbeddingBank
    settings_class = PretrainingSettings

    def __init__(self, cfg: DictConfig, hospital: str | None = None) -> None:
        super().__init__(cfg, hospital)
        self.grafted = tuple(str(name) for name in cfg.get("graft") or ())
        if cfg.get("keep_optimizer") and cfg.get("ema") is not None:
            raise UserError("ema: an average of weights cannot go on with a kept optimiser; set ema=null")

    def build(self, start_step: int = 0, total_steps: int = 1) -> PretrainModule:
        from pretrain.fit import build_module

        return build_module(self.cfg, None, start_step, total_steps)

    def train(
        self,
        module: nn.Module,
        options: RoundOptions,
        drift: DriftCorrection | None = None,
        optimizer_state: OptimizerState | None = None,
        masters: Mapping[str, Tensor] | None = None,
    ) -> RoundResult:
        from pretrain.fit import fit_round

        assert self.hospital is not None
        pretraining = cast("PretrainModule", module)
        pretraining.drift_correction = drift
        pretraining.hold_still(self.grafted)
        cfg = self.cfg.copy()
        cfg.checkpoint_every = 0  # the server keeps a round's weights, and the site its state
        return fit_round(
            cfg,
            [self.hospital],
            None,
            Path(options.scratch),
            options.steps,
            options.start_step,
            options.total_steps,
            module=pretraining,
            optimizer_state=optimizer_state,
            masters=masters,
            seconds=options.seconds,
        )

    def evaluate(self, module: nn.Module) -> Evaluation:
        from pretrain.evaluation import evaluate_module

        assert self.hospital is not None
        pretraining = cast("PretrainModule", module)
        behind = self.behind("evaluation")
        for name, objective in pretraining.objectives.items():
            if objective.modalities:
                behind[name] = min(behind[modality] for modality in objective.modalities)  # type: ignore[union-attr]
        return Evaluation(evaluate_module(self.cfg, [self.hospital], pretraining), behind)

    def export(self, module: nn.Module, output: Path) -> Path:
        cast("PretrainModule", module).encoder.save_pretrained(output / "encoder")
        return output / "encoder"

    def behind(self, part: Part) -> dict[str, int]:
        table = self.cohort.patients.loc[self.patients(part)]
        return {str(name): int(table[name].astype(bool).sum()) for name in self.cfg.modality}

    def initial_weights(self, pooled: SiteStatistics) -> Weights:
        if "expression" not in self.cfg.statistics:
            return {}
        return initial_moments(pooled, read_dictionary(Path(self.cfg.data.folder)).genes)


def initial_moments(pooled: SiteStatistics, genes: Sequence[str]) -> Weights:
    """Values for the buffers by which the genomics encoder standardises expression.

    Args:
        pooled: statistics with expression, in the unit of the cohorts that train.
        genes: of the encoder, in its order.

    Returns:
        By parameter name of the pretraining module: mean and variance `[genes]`, and how many batches they stand for,
        `[1]`: they are of all training patients, so no batch moves them. A gene of which fewer than two patients are
        known has mean 0 and variance 1, as without statistics; moments then go on moving, lest it keep these for ever.

    Raises:
        UserError: if there is no expression among the statistics.
    """
    if pooled.expression is None:
        raise UserError("statistics: no site told expression; allow it in the sites' policies, or train without it")
    moments = gene_moments(pooled.expression, genes)
    enough = moments.count > 1
    variance = moments.m2 / np.maximum(moments.count - 1, 1)
    return {
        f"{_GENOMICS}.expression_mean": np.where(enough, moments.mean, 0).astype(np.float32),
        f"{_GENOMICS}.expression_variance": np.where(enough, variance, 1).astype(np.float32),
        f"{_GENOMICS}.seen": np.full(1, FINAL if enough.all() else _STEADY, dtype=np.float32),
    }
