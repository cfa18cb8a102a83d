"""The shared bank as the extension of federated pretraining: rows of protected embeddings go round among the sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from foundation.errors import UserError
from foundation.federation.extension import Extension
from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import Noise
from foundation.federation.weights.types import Arrays, Weights
from pretrain.federated.bank import report
from pretrain.federated.bank.accounting import bank_note, bank_record
from pretrain.federated.bank.rows import check_rows, for_site
from pretrain.federated.bank.settings import BankSettings, bank_of

if TYPE_CHECKING:
    from torch import nn

    from foundation.federation.task import FederatedTask
    from pretrain.module import PretrainModule


class EmbeddingBank(Extension):
    """A bank of further negatives; what it protects is said in `pretrain.federated.bank.embeddings`.

    Args:
        settings: of the run.
        task: pretraining, at one place.
    """

    name = "bank"
    for_site = staticmethod(for_site)
    note = staticmethod(bank_note)
    section = staticmethod(report.bank)
    spent_with_updates = staticmethod(report.spent_with_bank)

    def __init__(self, settings: BankSettings, task: FederatedTask) -> None:
        self.settings = settings
        self.task = task

    @classmethod
    def of(cls, task: FederatedTask) -> EmbeddingBank | None:
        settings = bank_of(task.cfg)
        return None if settings is None else cls(settings, task)

    def check(self, module: nn.Module, local: Iterable[str]) -> None:
        from pretrain.federated.bank.embeddings import check_run

        check_run(self.settings, cast("PretrainModule", module), local)

    def before_training(self, module: nn.Module, arrays: Arrays) -> None:
        from pretrain.federated.bank.embeddings import fill

        fill(cast("PretrainModule", module), arrays)

    def after_evaluation(self, weights: Weights, least: int) -> Weights:
        from pretrain.federated.bank.embeddings import release, secret_generator

        cfg, hospital = self.task.cfg, self.task.hospital
        assert hospital is not None
        settings = self.settings.model_copy(update={"least": max(self.settings.least, least)})
        local = tuple(cfg.strategy.get("local") or ())
        rows = release(cfg, hospital, weights, settings, secret_generator(), local)
        if not rows:
            raise UserError(f"bank.least: fewer than {settings.least} patients drawn of every modality; none leave")
        return dict(rows)

    @property
    def promise(self) -> Noise:
        return self.settings.promise

    def spent(self, releases: int = 1) -> Spent:
        return self.settings.spent(releases)

    def receive(self, site: str, arrays: Arrays) -> Weights:
        check_rows(arrays, self.settings, site, self.task.cfg.encoder.width)
        return {name: np.array(values, dtype=np.float32) for name, values in arrays.items()}

    def record(self, releases: int, updates: Mapping[str, Any] | None) -> dict[str, Any]:
        return bank_record(self.settings, releases, updates)
