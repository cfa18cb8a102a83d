"""Evaluation as a federated task: a task model goes to the hospitals, and tables come back; nobody trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.federated.settings import EvaluationSettings
from foundation.arrays import narrowed, read_arrays, write_arrays
from foundation.data.dictionary import read_dictionary
from foundation.errors import UserError
from foundation.federation.sums import Ask, Refused, SiteSums
from foundation.federation.task import Evaluation, FederatedTask, Part, RoundOptions, RoundResult
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

    from finetune.federated.designs import Declared
    from finetune.federated.tables import Plan
    from finetune.predictor import TaskModel

TABLES, MODEL = "tables", "model"
FEATURES = "features"  # in a site's own folder
_BETA = "beta."
FOLDER = "exchange"  # in the run's folder: what went out, what came back
_AGAIN = "evaluate again"
_ONLY = "evaluation: nobody trains in it"


class Evaluating(FederatedTask):
    """One exchange: the model and what is to be counted go out, and each hospital's tables are summed."""

    name = "evaluate"
    settings_class = EvaluationSettings
    sums_everywhere = frozenset({TABLES, MODEL})

    def begin(self, ask: Ask, weights: Arrays) -> Weights:
        """Asks once, and writes what came back; the figures are made of it where the run was begun."""
        from finetune.federated.figures import ALL, SEPARATOR

        folder = Path(self.cfg.output) / FOLDER
        question = read_arrays(folder / "question.safetensors", _AGAIN)
        shapes = {name: tuple(shape) for name, shape in read_json(folder / "shapes.json", _AGAIN).items()}
        beta, why = self._baselines(ask, question, folder)
        if beta:
            more = read_json(folder / "baselines.json", _AGAIN)["tables"]
            shapes |= {name: tuple(shape) for name, shape in more.items()}
        sums = ask(TABLES, {}, shapes, question | {f"beta.{name}": value for name, value in beta.items()}, self._sites)
        write_arrays(folder / "total.safetensors", {name: narrowed(value) for name, value in sums.arrays.items()})
        for site, arrays in sums.by_site.items():  # of a hospital, nobody shows subgroups
            everybody = {name: value for name, value in arrays.items() if name.startswith(f"{ALL}{SEPARATOR}")}
            write_arrays(folder / "sites" / f"{site}.safetensors", everybody)
        answer = {"sites": sums.sites, "absent": sums.absent, "baselines": bool(beta), "no_baselines": why}
        write_json(folder / "answer.json", answer)
        return {}

    def _baselines(self, ask: Ask, question: Weights, folder: Path) -> tuple[Weights, str | None]:
        """Coefficients of baselines by place and output, of hospitals' train patients; or why there are none."""
        from finetune.federated.baselines import fit_baselines
        from finetune.federated.steady import of_steady_sites
        from foundation.statistics.grid import Grid

        if not (folder / "baselines.json").is_file():
            return {}, None
        declared = read_json(folder / "baselines.json", _AGAIN)
        training = [name for name in self.cfg.sites if name not in self.cfg.data.test_hospitals]
        about = {"model": np.frombuffer(bytes.fromhex(declared["model"]), dtype=np.uint8)}
        times = Grid(np.array(declared["times"]), "up")
        try:
            ask(MODEL, {}, {}, question, training)
            return of_steady_sites(
                ask, lambda steady: fit_baselines(steady, about, declared["widths"], declared["hazards"], times)
            ), None
        except Refused as error:
            return {}, str(error)

    def sums(self, name: str, weights: Weights, question: Weights) -> SiteSums:
        from finetune.federated.baselines import BASELINES
        from finetune.federated.figures import ALL
        from finetune.federated.parcel import MODELS, of_question, unpacked
        from finetune.federated.tables import judged, seen_by_group, tables_seen, to_arrays
        from finetune.predictor import TaskModel

        if name == BASELINES:
            return self._baseline_sums(question)
        if name not in (TABLES, MODEL):
            raise UserError(f"{name}: an evaluation knows no such sums; install one release everywhere")
        assert self.home is not None
        beta = {key.removeprefix(_BETA): value for key, value in question.items() if key.startswith(_BETA)}
        files = of_question({key: value for key, value in question.items() if not key.startswith(_BETA)})
        folder = unpacked(files, self.home / MODELS)
        if name == MODEL:
            return SiteSums({}, 0)
        model = TaskModel.load(folder)
        # The site's policy counts who stands behind the tables: patients without a target do not.
        patients = judged(model, self.cohort, self.patients("evaluation")).patients
        plan = self.plan(model)
        groups = seen_by_group(model, self.cohort, patients, plan)
        tables = tables_seen(model, groups, plan)
        if beta:
            declared, seen = self.declared(model), groups[ALL]
            assert declared is not None
            designs = declared.designs(model, self.cohort, seen.patients, self.home / FEATURES)
            tables |= declared.tables(model, seen, designs, beta, (plan.replicates, plan.key))
        arrays = to_arrays(tables)
        counts = tuple(key for key, value in arrays.items() if value.dtype.kind in "iu")
        return SiteSums(arrays, len(patients), counts)

    def _baseline_sums(self, question: Weights) -> SiteSums:
        """A step's sums over the hospital's train and validation patients whose target is known."""
        from finetune.federated.baselines import baseline_sums
        from finetune.federated.parcel import MODELS
        from finetune.federated.tables import judged
        from finetune.predictor import TaskModel

        assert self.home is not None
        folder = self.home / MODELS / bytes(question["model"].astype(np.uint8)).hex()
        model = TaskModel.load(folder)
        declared = self.declared(model)
        if declared is None:
            raise UserError("baselines: there are none of this kind of task; install one release everywhere")
        patients = judged(model, self.cohort, [*self.split.train, *self.split.validation]).patients
        fits = declared.fits(model, self.cohort, patients, self.home / FEATURES)
        sums = baseline_sums(fits, question, declared.times)
        return SiteSums(sums, len(patients), tuple(name for name in sums if name.endswith(".events")))

    def declared(self, model: TaskModel) -> Declared | None:
        """The baselines of a model; None where there are none, or none are asked for."""
        from finetune.federated.designs import Declared

        if self.cfg.baselines is None:
            return None
        names = [str(name) for name in self.cfg.baselines]
        return Declared.of(model, read_dictionary(Path(self.cfg.data.folder)), names)

    @property
    def _sites(self) -> list[str]:
        return list(self.cfg.sites)

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
