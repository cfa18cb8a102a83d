"""Fine-tuning as a federated task; what trains is imported when it trains, for a server has no training stack."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from foundation.federation.task import Evaluation, FederatedTask, Part, RoundOptions, RoundResult

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finetune.federated.module import FederatedModule
    from finetune.heads.base import Head
    from foundation.data.dataset import PatientDataset
    from foundation.engine.drift_correction import DriftCorrection
    from foundation.engine.optimizer_state import OptimizerState


class Finetuning(FederatedTask):
    """A head on a pretrained encoder, frozen or not; only patients whose target is known count."""

    name = "finetune"
    state_keys = ("seed", "pretrained", "task", "frozen", "optimizer")

    def build(self, start_step: int = 0, total_steps: int = 1) -> FederatedModule:
        from finetune.federated.assemble import build_module

        return build_module(self.cfg, start_step, total_steps)

    def train(
        self,
        module: nn.Module,
        options: RoundOptions,
        drift: DriftCorrection | None = None,
        optimizer_state: OptimizerState | None = None,
        masters: Mapping[str, Tensor] | None = None,
    ) -> RoundResult:
        from finetune.federated.fit import fit_round

        finetuning = cast("FederatedModule", module)
        finetuning.drift_correction = drift
        folder = Path(options.state if options.state is not None else options.scratch) / "embeddings"
        return fit_round(self.cfg, finetuning, self.dataset("train"), options, folder, optimizer_state, masters)

    def evaluate(self, module: nn.Module) -> Evaluation:
        from finetune.federated.fit import measure

        metrics = measure(cast("FederatedModule", module), self.dataset("evaluation"), self.cfg.data.batch_size)
        return Evaluation(metrics)

    def export(self, module: nn.Module, output: Path) -> Path:
        from finetune.fit import save

        finetuning = cast("FederatedModule", module)
        self.split.save(output / "split.json", self.cohort.digest)
        save(finetuning.cpu().eval(), self.cfg.task, list(self.cfg.data.modalities), output)
        return output / "task.json"

    def builds_on(self) -> tuple[list[Path], dict[str, str]]:
        from finetune.assemble import encoder_folder
        from foundation.run_output import folder_digest

        folder, runs = encoder_folder(Path(self.cfg.pretrained))
        return runs, {"encoder": folder_digest(folder)}

    def behind(self, part: Part) -> dict[str, int]:
        table = self.cohort.patients.loc[self.patients(part)]
        return {str(name): int(table[name].astype(bool).sum()) for name in self.cfg.data.modalities}

    def patients(self, part: Part) -> list[str]:
        return self.dataset(part).patients

    def dataset(self, part: Part) -> PatientDataset:
        """The hospital's patients of a part whose target is known."""
        return self._datasets[part]

    @cached_property
    def head(self) -> Head:
        """The head as the config describes it, for what it says of targets alone."""
        from finetune.federated.assemble import head_of

        return head_of(self.cfg)

    @cached_property
    def _datasets(self) -> dict[Part, PatientDataset]:
        from finetune.federated.assemble import usable_patients

        parts: tuple[Part, ...] = ("train", "evaluation")
        return {
            part: usable_patients(self.cfg, self.cohort, FederatedTask.patients(self, part), self.head)
            for part in parts
        }
