"""The run plan: what a server asks of the sites of a run, and all that it can ask.

A site composes its own config, from the configs of the release that it installed, its own `site.yaml`, and the fields
of a plan. Paths, trainer, compiler, loaders, loggers, environment, split and folders are therefore the site's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from omegaconf import DictConfig
from pydantic import Field, SerializeAsAny, model_validator

from foundation.contract import (
    LONGEST,
    Digest,
    Group,
    Hospital,
    Name,
    Part,
    Pattern,
    Positive,
    Release,
    RunName,
    Seconds,
    UnfitPlanError,
)
from foundation.federation.ledger.seal import Receipt
from foundation.federation.plan.protection import Combination, Masking, Narrowing, SiteNoise
from foundation.federation.plan.standing import Standing
from foundation.run_record import digest_of

Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 24)], ...], Field(max_length=5)]
Statistic = Literal["counts", "expression", "stain", "record", "survival"]


class TaskSettings(Part):
    """What a server may ask of a task beside rounds, steps and protection; by itself, nothing.

    A task with settings of its own names a subclass as its `settings_class`.

    Attributes:
        config_name: primary config of the release that a site composes, to put these settings into.
        site_owned: settings below which a site keeps its own, whatever the server's config says there.
    """

    config_name: ClassVar[str] = "run"
    site_owned: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, cfg: DictConfig) -> Self:
        """Those of a server's resolved config.

        Raises:
            UserError: naming a setting that cannot be asked of a site.
        """
        return cls()

    def apply(self, cfg: dict[str, Any]) -> None:
        """Puts them into a site's own config, in place."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names, for policies."""
        return ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of those that patients are seen through, for policies."""
        return ()

    @property
    def batch_size(self) -> int | None:
        """Patients a step; None where every step sees all."""
        return None

    def lines(self) -> list[str]:
        """The settings in plain words, for the page that a site's owner reads."""
        return []


class RunPlan(Part):
    """What a server asks.

    Attributes:
        version: of this contract.
        release: of the project, which must be the one that the site installed.
        task: name of a federated task of that release.
        training: hospitals that train.
        evaluating: hospitals that are held out and evaluate once, after the last round.
        rounds: of the run; 0 where nobody trains.
        steps: of the optimiser, at each site in a round.
        seed: of the weights that nobody sends.
        keep_optimizer: each site goes on with its own optimiser.
        deadline: seconds that a round's training, and its evaluation, may take; None for as long as they take.
        strategy: how updates are combined.
        noise: on whole updates; None for none.
        compression: of updates.
        secure: masks under which the server sees sums alone; None for none.
        statistics: asked once, before the first round.
        dictionary: digest of the data dictionary that hospitals prepare their cohorts against; None compares none.
        standing: bounds within which one approval is for every further run; None for an approval a run.
        settings: of the task.
    """

    version: Literal[1]
    release: Release
    task: Name
    training: Annotated[tuple[Hospital, ...], Field(min_length=1, max_length=1000)]
    evaluating: Annotated[tuple[Hospital, ...], Field(max_length=1000)] = ()
    rounds: Annotated[int, Field(ge=0, le=100_000)]
    steps: Annotated[int, Field(ge=0, le=1_000_000)]
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    keep_optimizer: bool = False
    deadline: Seconds | None = None
    strategy: Combination = Combination()
    noise: SiteNoise | None = None
    compression: Narrowing = Narrowing()
    secure: Masking | None = None
    statistics: Annotated[tuple[Statistic, ...], Field(max_length=5)] = ()
    dictionary: Digest | None = None
    standing: Standing | None = None
    settings: SerializeAsAny[TaskSettings]

    @model_validator(mode="after")
    def _each_hospital_once(self) -> Self:
        names = [*self.training, *self.evaluating]
        if len(set(names)) < len(names):
            raise ValueError("a hospital stands twice")
        return self

    @model_validator(mode="after")
    def _shares_are_approved(self) -> Self:
        """Each hospital's share of noise is the thinner the more hospitals a run names, so the approval bounds them."""
        shared = self.noise is not None and self.noise.place == "shares"
        if shared and self.standing is not None and self.standing.hospitals is None:
            raise ValueError("standing.hospitals: not given, and shares of noise are as thin as hospitals are many")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that it asks: by it policies and ledgers know a plan."""
        return digest_of(self.values())

    @property
    def approved_as(self) -> str:
        """The digest by which owners approve it: of one that recurs, whatever hospitals take part this time."""
        if self.standing is None:
            return self.digest
        return digest_of({key: value for key, value in self.values().items() if key not in ("training", "evaluating")})

    @property
    def sites(self) -> tuple[str, ...]:
        """All hospitals."""
        return (*self.training, *self.evaluating)

    def most_samples(self, processes: int) -> int | None:
        """Largest count that a site can have in a round, each patient once a step; None where every step sees all.

        Args:
            processes: that it trains in at most, each with batches of its own.
        """
        batch = self.settings.batch_size
        return None if batch is None else self.steps * batch * processes


class OrderHeader(Part):
    """What an order says beside its plan and its arrays.

    Attributes:
        run: name of the run, unique to it.
        round: counted from 1; 0 before the first.
        clip: of this round, where the plan's clip follows what sites send.
        frozen: by group, digests of the weights that do not learn, which sites must hold as well.
        buffers: names of statistics and counters among the weights.
        head: of the server's ledger, for the site's to witness; empty where there is none.
        receipts: heads of sites' ledgers that they signed, as the server holds them.
        sums: name of the sums that are asked for instead of training; empty where none are.
        shapes: of the arrays that answer, in the order of their names; without any, something is handed over.
    """

    run: RunName
    round: Annotated[int, Field(ge=0, le=100_000)]
    clip: Positive | None = None
    frozen: Annotated[dict[Group, Digest], Field(max_length=1000)] = Field({})
    buffers: Annotated[tuple[Pattern, ...], Field(max_length=100_000)] = ()
    head: Digest | Literal[""] = ""
    receipts: Annotated[tuple[Receipt, ...], Field(max_length=1000)] = ()
    sums: Name | Literal[""] = ""
    shapes: Annotated[tuple[Shape, ...], Field(max_length=10_000)] = ()


def read_plan(text: str, tasks: Mapping[str, type[TaskSettings]]) -> RunPlan:
    """A plan as it travelled, or as it lies in a file.

    Args:
        text: JSON.
        tasks: by name, the settings of those that are installed here.

    Raises:
        UnfitPlanError: naming the field; nothing of what came is repeated.
    """
    if len(text) > LONGEST:
        raise UnfitPlanError(f"plan: longer than {LONGEST} characters")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnfitPlanError("plan: no JSON") from error
    if not isinstance(content, dict):
        raise UnfitPlanError("plan: no object")
    task = content.get("task")
    if not isinstance(task, str) or task not in tasks:
        raise UnfitPlanError(f"plan: task: no task of this site; it knows {', '.join(sorted(tasks))}")
    settings = tasks[task].read(content.pop("settings", None), "plan: settings")
    plan = RunPlan.read(content | {"settings": {}})
    return plan.model_copy(update={"settings": settings})
