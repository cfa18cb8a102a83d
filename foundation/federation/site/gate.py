"""A site's front gate: what every order passes on its way in, and every answer on its way out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Unpack

from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.extension import Extension
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import Direction, Kind
from foundation.federation.ledger.spent import EMBEDDINGS, UPDATES, Spent, releases
from foundation.federation.ledger.writer import Facts
from foundation.federation.policy import (
    Declined,
    OrderFacts,
    ReplyFacts,
    check_order,
    check_reply,
    order_facts,
    public_reason,
    suppress,
    withhold,
)
from foundation.federation.privacy import Privacy
from foundation.federation.server.ledger import OWNER, groups_of, printable
from foundation.federation.site.config import Site
from foundation.federation.task import FederatedTask, federated_task
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.messages import Order, Reply, travelling_digest

Work = Literal["train", "evaluate", "statistics"]
_IN: dict[Work, Literal["order", "evaluation", "statistics"]] = {
    "train": "order",
    "evaluate": "evaluation",
    "statistics": "statistics",
}
_OUT: dict[Work, Literal["update", "evaluation", "statistics"]] = {
    "train": "update",
    "evaluate": "evaluation",
    "statistics": "statistics",
}


class PolicyGate:
    """Holds an order and its answer against the site's policy, and writes both into the site's ledger.

    Args:
        site: whose.
        order: that came.
        work: that it asks for.
        statistics: names of those that it asks for.
        masked: whether its message asks for an update that secure aggregation masks.

    Attributes:
        task: that the run trains, on this hospital's patients; there is none before its class was let in.
        privacy: what the run does to updates.
        extension: what it exchanges beside weights; None if nothing.
    """

    task: FederatedTask

    def __init__(
        self, site: Site, order: Order, work: Work, statistics: Sequence[str] = (), masked: bool = False
    ) -> None:
        self.site = site
        self.order = order
        self.work: Work = work
        self.statistics = tuple(statistics)
        self.masked = masked
        self.ledger = Ledger.open(site.ledger, site.name)
        self.privacy = Privacy()
        self.extension: Extension | None = None
        self._facts: OrderFacts | None = None

    def admit(self) -> None:
        """Notes the order, and lets it in.

        Raises:
            Declined: with the reason.
        """
        order, policy = self.order, self.site.policy
        digest = travelling_digest(order.weights, order.control)
        self._append(_IN[self.work], "in", digest, groups=groups_of(order.weights), witness=order.head)
        if order.extension:
            self._append("embeddings", "in", travelling_digest(order.extension, {}), groups=sorted(order.extension))
        entries = self.ledger.entries()
        if self.work == "train" and order.cfg.get("secure") is not None and not self.masked:
            raise Declined("secure: the run's config masks updates, and this order asks for one in the open")
        # Nothing that the order names is built before the policy has seen what it names.
        check_order(policy, self._read(""), entries, spent_after=Spent())
        self.privacy = instantiate(order.cfg.privacy)
        self.task = federated_task(self.site.own(order.cfg), self.site.name)
        self.extension = self.task.extension()
        self._facts = self._read(self.task.name)
        patients = len(self.task.patients("train")) if self.work == "train" else None
        check_order(policy, self._facts, entries, patients, self.spent(updates=1))

    def admit_extension(self) -> int:
        """Lets in what an admitted order asks for the run's extension; patients below whom no count leaves this site.

        Raises:
            Declined: with the reason.
        """
        assert self._facts is not None and self.extension is not None, "asked after `admit`, in a run that has one"
        privacy = replace(self._facts.privacy, embeddings=self.extension.promise)
        self._facts = replace(self._facts, embeddings=True, privacy=privacy)
        check_order(self.site.policy, self._facts, self.ledger.entries())
        return self.site.policy.patients.cell

    def spent(self, updates: int = 0, embeddings: int = 0) -> Spent | None:
        """What the run will have spent after so many more releases; None where nothing counts its updates.

        Updates and embeddings are added (basic composition), for neighbours of which one has other updates, not none.
        """
        count = releases(self.ledger.entries(), self.order.run, UPDATES) + updates
        spent = self.privacy.spent(count, replaced=self.extension is not None)
        return None if spent is None else spent + self._spent_by_extension(embeddings)

    def _spent_by_extension(self, more: int) -> Spent:
        if self.extension is None:
            return Spent()
        return self.extension.spent(releases(self.ledger.entries(), self.order.run, EMBEDDINGS) + more)

    def release(self, reply: Reply, patients: int, behind: Mapping[str, int], masked: bool = False) -> Reply:
        """The answer as it may leave, noted before it does.

        Args:
            reply: about to leave.
            patients: behind it.
            behind: patients by modality, metric or group, where they are fewer.
            masked: whether secure aggregation changes its arrays on the way.

        Raises:
            Declined: with the reason.
        """
        assert self._facts is not None, "an answer is released after its order was admitted"
        policy, kind = self.site.policy, _OUT[self.work]
        reply.metrics = suppress(policy, reply.metrics, patients, behind)
        spent = self.spent(updates=1) if self.work == "train" else None
        groups = [group for group, count in reply.samples.items() if count]
        check_reply(
            policy,
            self._facts,
            ReplyFacts(
                kind,
                patients,
                groups,
                reply.metrics,
                behind,
                self.statistics,
                self._facts.privacy,
                spent,
                reply.samples,
            ),
            self.ledger.entries(),
        )
        self._append(
            kind,
            "out",
            travelling_digest(reply.update, reply.control),
            groups=groups,
            masked=masked,
            samples=reply.samples,
            metrics=reply.metrics,
            epsilon=None if spent is None else spent.epsilon,
            delta=None if spent is None else spent.delta,
            policy=policy.digest,
        )
        reply.facts["head"] = self.ledger.head
        return reply

    def release_extension(self, reply: Reply, arrays: Arrays) -> Reply:
        """Adds what the site gives for the run's extension to an answer that may leave, noted before it does.

        Args:
            reply: as `release` gave it.
            arrays: protected, by name.

        Raises:
            UserError: with the reason; the answer is then as it was.
        """
        assert self._facts is not None and self.extension is not None, "released after it was admitted"
        policy, groups, spent = self.site.policy, sorted(arrays), self.spent(embeddings=1)
        patients, privacy, name = len(self.task.patients("train")), self._facts.privacy, self.extension.name
        facts = ReplyFacts("embeddings", patients, groups, privacy=privacy, spent=spent)
        check_reply(policy, self._facts, facts, self.ledger.entries())
        counted = self._spent_by_extension(1) if spent is None else spent
        if not math.isfinite(counted.epsilon):
            raise UserError(f"{name}.noise: protects so little that no epsilon can be told; give more, or an epsilon")
        self._append(
            "embeddings",
            "out",
            travelling_digest(arrays, {}),
            groups=groups,
            samples={group: len(values) for group, values in arrays.items()},
            epsilon=counted.epsilon,
            delta=counted.delta,
            policy=policy.digest,
            note="" if spent is not None else f"epsilon is that of the {name} alone: nothing counts what updates tell",
        )
        reply.extension, reply.facts["head"] = arrays, self.ledger.head
        return reply

    def told(self, samples: Mapping[str, int], behind: Mapping[str, int]) -> dict[str, int]:
        """The samples by group that may be told; the other groups stay at home."""
        return withhold(self.site.policy, samples, behind)

    def decline(self, error: UserError) -> str:
        """Notes that the site does not take part; the line that the server may read."""
        reason = public_reason(self.site.policy, error)
        self._append("decline", "out", None, note=printable(reason))
        return reason

    def _read(self, task: str) -> OrderFacts:
        cfg, order = self.order.cfg, self.order
        return order_facts(
            cfg,
            run=order.run,
            task=task if self.work == "train" else self.work,
            release=order.release,
            round=order.round,
            privacy=self.privacy.promises(order.settings, self.masked),
            seconds=cfg.deadline,
            statistics=self.statistics,
        )

    def _append(self, kind: Kind, direction: Direction, arrays: WeightsDigest | None, **facts: Unpack[Facts]) -> None:
        facts["run"], facts["round"], facts["peer"] = self.order.run, self.order.round, OWNER
        if arrays is not None:
            facts["size"], facts["digest"] = arrays.bytes, arrays.hexdigest()
        self.ledger.append(kind, direction, **facts)
