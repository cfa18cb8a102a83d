"""The protocol of an extension: arrays about patients that sites exchange beside weights.

At the end of every round but the last, each site that trains gives arrays with its evaluation; in the next round it
gets those of the others before it trains. A task has one extension at most, for ledgers count its releases as one kind.
What leaves is judged as embeddings of patients are (`shared_embeddings` and `privacy.embeddings` of a site's policy),
and stands in every ledger under that kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import Noise
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.wire.messages import Order

if TYPE_CHECKING:  # a server builds an extension and has no torch
    from torch import nn

    from foundation.federation.report.elements import Section
    from foundation.federation.report.history import Run
    from foundation.federation.task import FederatedTask


class Extension(ABC):
    """What a run exchanges beside weights.

    Attributes:
        name: of its settings in the config, of its files among the checkpoints, and of its facts in the history.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def of(cls, task: FederatedTask) -> Extension | None:
        """The extension that a run's config asks for; None if it asks for none."""

    # Where the run is begun.

    @abstractmethod
    def check(self, module: nn.Module, local: Iterable[str]) -> None:
        """Holds the run against what the extension needs, before anybody trains.

        Args:
            module: of the run.
            local: names that stay at the sites.

        Raises:
            UserError: if it would be sent for nothing, or could not be protected.
        """

    # At a site.

    @abstractmethod
    def before_training(self, module: nn.Module, arrays: Arrays) -> None:
        """Puts what the other sites gave into a module that is about to train; empty where nobody gave any."""

    @abstractmethod
    def after_evaluation(self, weights: Weights, least: int) -> Weights:
        """What the site gives, protected, seen with the weights that the server sent.

        Args:
            weights: of the round.
            least: patients below whom this site's policy lets no count leave.

        Raises:
            UserError: if there is nothing to give; the evaluation leaves all the same.
        """

    # At the gate.

    @property
    @abstractmethod
    def promise(self) -> Noise:
        """The protection of a patient in one release, for a site's policy."""

    @abstractmethod
    def spent(self, releases: int = 1) -> Spent:
        """What a patient has spent who was in so many releases."""

    # At the server.

    @abstractmethod
    def receive(self, site: str, arrays: Arrays) -> Weights:
        """What a site sent, held against what it was asked for; the message is let go.

        Raises:
            UserError: naming site and array.
        """

    @staticmethod
    @abstractmethod
    def for_site(by_site: Mapping[str, Arrays], site: str) -> Weights:
        """What a site gets of what each of all sites gave."""

    @abstractmethod
    def record(self, releases: int, updates: Mapping[str, Any] | None) -> dict[str, Any]:
        """What history keeps of a round, beside who gave how much.

        Args:
            releases: of the site that gave most often.
            updates: the record of the run's privacy; None where updates are not protected.
        """

    # In the run record and the report.

    @staticmethod
    @abstractmethod
    def note(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What the run record keeps of all rounds of the history; None if they tell of none."""

    @staticmethod
    @abstractmethod
    def section(run: Run) -> Section | None:
        """The report's section; None if the history tells of none."""

    @staticmethod
    @abstractmethod
    def spent_with_updates(run: Run) -> tuple[float, float | None] | None:
        """Epsilon and delta of updates and extension together, at the end of a run; None where there are not both."""


def is_asked(order: Order, site: str) -> bool:
    """Whether an order to evaluate asks a site to give: those who train are asked, where a round follows."""
    return order.round < order.plan.rounds and site in order.plan.training
