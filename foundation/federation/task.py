"""The protocol of a federated task: what a stage gives so that hospitals can train and evaluate it together.

The server's config names a task's class (`federated_task._target_`), and the run's plan its name, by which a site finds
the class among those that it installed. What the server may ask of it beside is its `settings_class`. Beside what the
task itself reads, the federation reads these settings of the config: `cohort.name`, `sites`, `rounds`,
`steps_per_round`, `keep_optimizer`, `quorum`, `deadline`, `seed`, `trainer`, `strategy`, and of `data` the `folder`,
`batch_size`, `test_hospitals` and what deals patients to the parts (`foundation.data.splits`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from omegaconf import DictConfig

from foundation.command import plain
from foundation.errors import UserError
from foundation.federation.plan import TaskSettings
from foundation.federation.statistics import SiteStatistics
from foundation.federation.sums import Ask, SiteSums
from foundation.federation.weights.types import Arrays, Weights
from foundation.run_record import digest_of

if TYPE_CHECKING:  # a server builds a task and has neither torch nor patients
    from torch import Tensor, nn

    from foundation.data.cohort import Cohort
    from foundation.data.splits import Split
    from foundation.engine.drift_correction import DriftCorrection
    from foundation.engine.optimizer_state import OptimizerState
    from foundation.federation.extension import Extension

Part = Literal["train", "evaluation"]


@dataclass
class RoundResult:
    """What training gave back.

    Attributes:
        weights: by parameter name.
        samples: by parameter group, patients that trained it, counted once a step.
        metrics: losses of training and validation.
        control: by parameter, what SCAFFOLD adds to the site's control variate; empty without it.
        frozen: by group, digest of the weights that do not learn; empty where all do.
    """

    weights: Weights
    samples: dict[str, int]
    metrics: dict[str, float]
    control: Weights = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundOptions:
    """What a round of training is, in plain values that a launched job's processes read from a file.

    Attributes:
        scratch: folder for logs and for the job's files.
        start_step: steps of the whole run already taken; the learning-rate schedule goes on from there.
        steps: optimiser steps to take.
        total_steps: of the whole run.
        state: this run's folder at this site (see `SiteState`); nothing is kept without it.
        proximal: FedProx's mu.
        scaffold: whether drift is corrected by SCAFFOLD; the site then keeps a control variate.
        keep_optimizer: go on with the optimiser's state and the order of patients of this site's last round.
        local: patterns of names that stay at the site.
        frozen: by group, digests of the frozen weights that the server holds; None does not compare.
        seconds: to give up after; a job is killed then, a training in this process ends after its step.
    """

    scratch: str
    start_step: int
    steps: int
    total_steps: int
    state: str | None = None
    proximal: float = 0.0
    scaffold: bool = False
    keep_optimizer: bool = False
    local: Sequence[str] = ()
    frozen: Mapping[str, str] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RoundArrays:
    """Arrays that a round starts from.

    Attributes:
        weights: at least what travels (see `travelling`).
        control: the server's control variate (SCAFFOLD).
        extension: what the run's extension brings from other sites.
    """

    weights: Weights
    control: Weights = field(default_factory=dict)
    extension: Weights = field(default_factory=dict)


@dataclass
class Evaluation:
    """What weights are worth at a site.

    Attributes:
        metrics: by name; `patients` is how many they are of.
        behind: patients by metric or by the part of its name before `/`, where they are fewer (see `policy.suppress`).
    """

    metrics: dict[str, float]
    behind: dict[str, int] = field(default_factory=dict)


class FederatedTask(ABC):
    """What hospitals train together, at one place: a site sees its own patients, the command and the server see none.

    Args:
        cfg: the run's resolved config; at a site with the site's own data and trainer in it.
        hospital: whose patients it sees; None where a run is begun, or served.

    Attributes:
        home: the site's own folder, for what a task keeps there; None where there is none.
        name: of its training, as policies (`tasks`) call it; neither `evaluate` nor `statistics`.
        state_keys: settings on which a site's kept state depends: optimiser, local weights, control variate.
        extension_class: what a run of it may exchange beside weights; None if nothing.
        sums_everywhere: names of sums that hospitals answer that are held out from training, too.
        settings_class: what a server may ask of it in a plan; see `foundation.federation.plan`.
        grafted: parameter groups of the run that come later than the others, and train alone.
    """

    name: ClassVar[str]
    state_keys: ClassVar[tuple[str, ...]] = ("seed", "optimizer")
    extension_class: ClassVar[type[Extension] | None] = None
    sums_everywhere: ClassVar[frozenset[str]] = frozenset()
    settings_class: ClassVar[type[TaskSettings]] = TaskSettings
    grafted: tuple[str, ...] = ()

    def __init__(self, cfg: DictConfig, hospital: str | None = None) -> None:
        self.cfg = cfg
        self.hospital = hospital
        self.home: Path | None = None

    @abstractmethod
    def build(self, start_step: int = 0, total_steps: int = 1) -> nn.Module:
        """The module from the seed alone, the same wherever it is built.

        Args:
            start_step: steps of the whole run already taken.
            total_steps: of the whole run.
        """

    @abstractmethod
    def train(
        self,
        module: nn.Module,
        options: RoundOptions,
        drift: DriftCorrection | None = None,
        optimizer_state: OptimizerState | None = None,
        masters: Mapping[str, Tensor] | None = None,
    ) -> RoundResult:
        """Trains a module on the hospital's patients, from the weights in it; the very training of a single place.

        Args:
            module: of `build`, with the round's weights.
            options: steps, schedule, time, and where logs go.
            drift: terms to add to the loss of each step; none if None.
            optimizer_state: the optimiser's state of the last round, and where this round's goes; a fresh one if None.
            masters: the module's state before, in single precision.
        """

    @abstractmethod
    def evaluate(self, module: nn.Module) -> Evaluation:
        """Measures a module on the hospital's patients outside training: `patients("evaluation")`."""

    @abstractmethod
    def export(self, module: nn.Module, output: Path) -> Path:
        """Writes what the run is for into its folder; the path of it."""

    def builds_on(self) -> tuple[list[Path], dict[str, str]]:
        """Runs that this one builds on, and digests by name of what its weights depend on beside config and cohort."""
        return [], {}

    def notes(self) -> dict[str, Any]:
        """What the record of a finished run says beside what every run's does, by name."""
        return {}

    def behind(self, part: Part) -> dict[str, int]:
        """By parameter group, how many patients of a part have what teaches it, where those are fewer than all."""
        return {}

    def initial_weights(self, pooled: SiteStatistics) -> Weights:
        """Weights that statistics of all sites' patients set before the first round."""
        return {}

    def sums(self, name: str, weights: Weights, question: Weights) -> SiteSums:
        """At a site, its part of the sums of a name; see `foundation.federation.sums`.

        Args:
            name: of the sums.
            weights: the model that they are about; empty if about none.
            question: further arrays from the server.

        Raises:
            UserError: if the task knows none of that name.
        """
        raise UserError(f"{name}: the task '{self.name}' knows no such sums; install one release everywhere")

    def begin(self, ask: Ask, weights: Arrays) -> Weights:
        """At the server, weights that sums over the sites set before the first round."""
        return {}

    def lead(self, ask: Ask, weights: Arrays, number: int, buffers: frozenset[str]) -> Weights | None:
        """At the server, the weights that change in a round that goes by sums; None where sites train instead.

        Args:
            ask: the sites that train.
            weights: before the round.
            number: of it.
            buffers: names of statistics and counters among the weights.
        """
        return None

    def end(self, ask: Ask, weights: Arrays) -> Weights:
        """At the server, weights that sums over the sites set after the last round, whatever set them before."""
        return {}

    def statistics(self, names: Sequence[str]) -> SiteStatistics:
        """What the hospital's train patients count and sum up to, before small cells are withheld."""
        from foundation.federation.statistics.site import site_statistics

        return site_statistics(self.cohort, self.patients("train"), names)

    def patients(self, part: Part) -> list[str]:
        """The hospital's patients who train, or who evaluate; test patients at a hospital that is held out alone."""
        parts = self.split
        return list(parts.train) if part == "train" else parts.evaluation(bool(self.cfg.data.test_hospitals))

    @cached_property
    def cohort(self) -> Cohort:
        """The hospital's patients; everybody's where a run is begun."""
        from foundation.data.cohort import Cohort

        return Cohort(Path(self.cfg.data.folder), None if self.hospital is None else [self.hospital])

    @cached_property
    def split(self) -> Split:
        """Which of them train, validate and test."""
        from foundation.data.splits import configured_split

        return configured_split(self.cohort, self.cfg.data)

    @property
    def state_digest(self) -> str:
        """Of the settings on which a site's kept state depends."""
        return digest_of({key: value for key, value in plain(self.cfg).items() if key in self.state_keys})

    def extension(self) -> Extension | None:
        """What the run exchanges beside weights; None if nothing.

        Raises:
            UserError: naming the setting that is wrong.
        """
        return None if self.extension_class is None else self.extension_class.of(self)


def task_class(cfg: Mapping[str, Any] | DictConfig) -> type[FederatedTask]:
    """The class of a run's task; at a site its policy has judged the config before.

    Raises:
        UserError: if the config names none.
    """
    node = cfg.get("federated_task")
    # Nothing but a `_target_` was judged: a bare name here would be imported past the policy.
    target = node.get("_target_") if isinstance(node, Mapping | DictConfig) else None
    beside = [str(key) for key in node if key != "_target_"] if isinstance(node, Mapping | DictConfig) else []
    if beside:
        raise UserError(f"federated_task.{beside[0]}: nothing reads this setting; a task takes its run's whole config")
    try:
        kind = resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"federated_task._target_: {target} is not installed here ({error}); name a task") from error
    if not (isinstance(kind, type) and issubclass(kind, FederatedTask)):
        raise UserError(f"federated_task._target_: {target} is no federated task; see foundation/federation/task.py")
    return kind


def federated_task(cfg: DictConfig, hospital: str | None = None) -> FederatedTask:
    """A run's task at one place; see `FederatedTask`.

    Raises:
        UserError: if the config names none.
    """
    return task_class(cfg)(cfg, hospital)
