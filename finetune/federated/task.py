"""Fine-tuning as a federated task; what trains is imported when it trains, for a server has no training stack."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from finetune.federated.settings import FinetuningSettings
from foundation.federation.sums import Ask, SiteSums
from foundation.federation.task import Evaluation, FederatedTask, Part, RoundOptions, RoundResult
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finetune.federated.module import FederatedModule
    from finetune.heads.base import Head
    from foundation.data.dataset import PatientDataset
    from foundation.engine.drift_correction import DriftCorrection
    from foundation.engine.optimizer_state import OptimizerState


ENCODER = "encoder"  # name of the sums that hand it over
_MODALITIES, _OUTCOMES = "modalities.json", "outcomes.json"  # in the run's folder
_UNFITTED = "reliability.json"  # likewise: why nothing says how far answers can be relied on
FOLDER = "embeddings"  # in a site's folder of state


class Finetuning(FederatedTask):
    """A head on a pretrained encoder, frozen or not; only patients whose target is known count."""

    name = "finetune"
    settings_class = FinetuningSettings
    sums_everywhere = frozenset({ENCODER})
    state_keys = ("seed", "encoder", "task", "frozen", "optimizer")

    def __init__(self, cfg: DictConfig, hospital: str | None = None) -> None:
        super().__init__(cfg, hospital)
        self.equipped: frozenset[str] = frozenset()  # at the server, sites that have the encoder by message

    def build(self, start_step: int = 0, total_steps: int = 1) -> FederatedModule:
        from finetune.federated.assemble import build_module

        return build_module(self.cfg, self.home, start_step, total_steps)

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
        folder = Path(options.state).parent if options.state is not None else Path(options.scratch)
        part = self.dataset("train")
        return fit_round(self.cfg, finetuning, part, options, folder / FOLDER, optimizer_state, masters)

    def evaluate(self, module: nn.Module) -> Evaluation:
        from finetune.federated.fit import measure

        return Evaluation(measure(cast("FederatedModule", module), self.dataset("evaluation"), self.embeddings))

    def export(self, module: nn.Module, output: Path) -> Path:
        from finetune.federated.reliability import read
        from finetune.fit import save

        finetuning = cast("FederatedModule", module)
        fitted = read(self._fitted)
        finetuning.reliability, finetuning.subsets = fitted.reliability, fitted.subsets
        if self.cfg.federation.kind != "deployment":  # where patients lie elsewhere, each hospital keeps its own split
            self.split.save(output / "split.json", self.cohort.digest)
        save(finetuning.cpu().eval(), self.cfg.task, list(self.cfg.data.modalities), output)
        return output / "task.json"

    def keep_modalities(self, counts: dict[str, int]) -> None:
        """Keeps, for the run's record, how many of all hospitals' train patients have each modality."""
        write_json(Path(self.cfg.output) / _MODALITIES, counts)

    def keep_outcomes(self, counts: Mapping[str, int | None]) -> None:
        """Keeps, for the run's record, how many of all hospitals' train patients had each outcome."""
        write_json(Path(self.cfg.output) / _OUTCOMES, {"train": counts})

    def notes(self) -> dict[str, Any]:
        output = Path(self.cfg.output)
        paths = {"modalities": output / _MODALITIES, "outcomes": output / _OUTCOMES, "reliability": output / _UNFITTED}
        return {name: read_json(path, "train again") for name, path in paths.items() if path.is_file()}

    def builds_on(self) -> tuple[list[Path], dict[str, str]]:
        from finetune.assemble import encoder_folder
        from foundation.run_output import folder_digest

        folder, runs = encoder_folder(Path(self.cfg.pretrained))
        return runs, {"encoder": folder_digest(folder)}

    def sums(self, name: str, weights: Weights, question: Weights) -> SiteSums:
        from finetune.federated.answers import answer

        return answer(self, name, weights, question)

    def begin(self, ask: Ask, weights: Arrays) -> Weights:
        from finetune.federated.leading import hand_over, with_counts

        self.equipped = hand_over(self, ask, self.equipped)
        return with_counts(self, ask, weights)

    def lead(self, ask: Ask, weights: Arrays, number: int, buffers: frozenset[str]) -> Weights | None:
        from finetune.federated.leading import hand_over, step_by_sums

        self.equipped = hand_over(self, ask, self.equipped)
        return step_by_sums(self, ask, weights, number, buffers)

    def end(self, ask: Ask, weights: Arrays) -> Weights:
        from finetune.federated.leading import calibrated, reliability
        from finetune.federated.reliability import write

        fitted = calibrated(self, ask, weights)
        shutil.rmtree(self._fitted, ignore_errors=True)
        beside = reliability(self, ask, {**weights, **fitted})
        if not isinstance(beside, str):
            write(beside, self._fitted)
        elif self.cfg.reliability is not None:
            print(f"warning: nothing beside the head says how far its answers can be relied on: {beside}", flush=True)
            write_json(Path(self.cfg.output) / _UNFITTED, {"not fitted": beside})
        return fitted

    @property
    def _fitted(self) -> Path:
        """Where what is fitted beside the head lies until the run's end."""
        return Path(self.cfg.output) / "fitted"

    def behind(self, part: Part) -> dict[str, int]:
        table = self.cohort.patients.loc[self.patients(part)]
        return {str(name): int(table[name].astype(bool).sum()) for name in self.cfg.data.modalities}

    def patients(self, part: Part) -> list[str]:
        return self.dataset(part).patients

    def dataset(self, part: Part) -> PatientDataset:
        """The hospital's patients of a part whose target is known."""
        return self._datasets[part]

    def placed(self, weights: Weights) -> FederatedModule:
        """The module with weights in place of those that travel."""
        from foundation.federation.weights.module import place

        module = self.build()
        place(module, weights, {}, list(self.cfg.strategy.get("local") or []))
        return module

    @property
    def embeddings(self) -> Path | None:
        """Where this site keeps a frozen encoder's embeddings; None where it keeps none."""
        return None if self.home is None or self.cfg.embeddings is None else self.home / FOLDER

    @cached_property
    def head(self) -> Head:
        """The head as the config describes it, for what it says of targets alone."""
        from finetune.federated.assemble import head_of

        return head_of(self.cfg)

    def usable(self, patients: list[str]) -> PatientDataset:
        """Those of some patients whose target is known."""
        from finetune.federated.assemble import usable_patients

        return usable_patients(self.cfg, self.cohort, patients, self.head)

    @cached_property
    def validation(self) -> PatientDataset:
        """The hospital's validation patients whose target is known."""
        return self.usable(self.split.validation)

    @cached_property
    def learnt(self) -> PatientDataset:
        """Its train and validation patients."""
        return self.usable([*self.split.train, *self.split.validation])

    @cached_property
    def _datasets(self) -> dict[Part, PatientDataset]:
        parts: tuple[Part, ...] = ("train", "evaluation")
        return {part: self.usable(FederatedTask.patients(self, part)) for part in parts}
