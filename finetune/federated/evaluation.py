"""Evaluation as a federated task: a task model goes to the hospitals, and tables come back; nobody trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.federated.settings import EvaluationSettings
from foundation.arrays import narrowed, read_arrays, write_arrays
from foundation.data.dictionary import read_dictionary
from foundation.errors import UserError
from foundation.federation.sums import Ask, SiteSums
from foundation.federation.task import Evaluation, FederatedTask, Part, RoundOptions, RoundResult
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

    from finetune.federated.tables import Plan
    from finetune.predictor import TaskModel

TABLES = "tables"
FOLDER = "exchange"  # in the run's folder: what went out, what came back
_AGAIN = "evaluate again"
_ONLY = "evaluation: nobody trains in it"


class Evaluating(FederatedTask):
    """One exchange: the model and what is to be counted go out, and each hospital's tables are summed."""

    name = "evaluate"
    settings_class = EvaluationSettings
    sums_everywhere = frozenset({TABLES})

    def begin(self, ask: Ask, weights: Arrays) -> Weights:
        """Asks once, and writes what came back; the figures are made of it where the run was begun."""
        from finetune.federated.figures import ALL, SEPARATOR

        folder = Path(self.cfg.output) / FOLDER
        question = read_arrays(folder / "question.safetensors", _AGAIN)
        shapes = {name: tuple(shape) for name, shape in read_json(folder / "shapes.json", _AGAIN).items()}
        sums = ask(TABLES, {}, shapes, question, list(self.cfg.sites))
        write_arrays(folder / "total.safetensors", {name: narrowed(value) for name, value in sums.arrays.items()})
        for site, arrays in sums.by_site.items():  # of a hospital, nobody shows subgroups
            everybody = {name: value for name, value in arrays.items() if name.startswith(f"{ALL}{SEPARATOR}")}
            write_arrays(folder / "sites" / f"{site}.safetensors", everybody)
        write_json(folder / "answer.json", {"sites": sums.sites, "absent": sums.absent})
        return {}

    def sums(self, name: str, weights: Weights, question: Weights) -> SiteSums:
        if name != TABLES:
            raise UserError(f"{name}: an evaluation knows no such sums; install one release everywhere")
        from finetune.federated.parcel import MODELS, of_question, unpacked
        from finetune.federated.tables import judged, tables_of, to_arrays
        from finetune.predictor import TaskModel

        assert self.home is not None
        model = TaskModel.load(unpacked(of_question(question), self.home / MODELS))
        # The site's policy counts who stands behind the tables: patients without a target do not.
        patients = judged(model, self.cohort, self.patients("evaluation")).patients
        arrays = to_arrays(tables_of(model, self.cohort, patients, self.plan(model), sent=True))
        counts = tuple(key for key, value in arrays.items() if value.dtype.kind in "iu")
        return SiteSums(arrays, len(patients), counts)

    def plan(self, model: TaskModel) -> Plan:
        """What all hospitals count alike."""
        from finetune.federated.tables import Plan

        cfg = self.cfg
        return Plan.of(
            model, read_dictionary(Path(cfg.data.folder)), cfg.replicates, f"evaluation {cfg.seed}", list(cfg.age_bands)
        )

    def patients(self, part: Part) -> list[str]:
        """Those of the part of the split that is evaluated."""
        chosen: list[str] = getattr(self.split, str(self.cfg.part))
        return list(chosen)

    def build(self, start_step: int = 0, total_steps: int = 1) -> nn.Module:
        raise UserError(_ONLY)

    def train(self, module: nn.Module, options: RoundOptions, *more: Any, **others: Any) -> RoundResult:
        raise UserError(_ONLY)

    def evaluate(self, module: nn.Module) -> Evaluation:
        raise UserError(_ONLY)

    def export(self, module: nn.Module, output: Path) -> Path:
        raise UserError(_ONLY)
