"""A site's front gate: what every order passes on its way in, and every answer on its way out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, Unpack

from foundation.command import instantiate
from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.errors import UserError
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
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.messages import Order, Reply, travelling_digest
from pretrain.assemble import load_cohort
from pretrain.federated.bank.settings import BankSettings, bank_of

Part = Literal["train", "evaluation"]
Task = Literal["pretrain", "evaluate", "statistics"]
_IN: dict[Task, Literal["order", "evaluation", "statistics"]] = {
    "pretrain": "order",
    "evaluate": "evaluation",
    "statistics": "statistics",
}
_OUT: dict[Task, Literal["update", "evaluation", "statistics"]] = {
    "pretrain": "update",
    "evaluate": "evaluation",
    "statistics": "statistics",
}


class PolicyGate:
    """Holds an order and its answer against the site's policy, and writes both into the site's ledger.

    Args:
        site: whose.
        order: that came.
        task: that it asks for.
        statistics: names of those that it asks for.
        masked: whether its message asks for an update that secure aggregation masks.

    Attributes:
        privacy: what the run does to updates.
        bank: what it asks for its shared bank; None if nothing.
    """

    def __init__(
        self, site: Site, order: Order, task: Task, statistics: Sequence[str] = (), masked: bool = False
    ) -> None:
        self.site = site
        self.order = order
        self.task: Task = task
        self.statistics = tuple(statistics)
        self.masked = masked
        self.ledger = Ledger.open(site.ledger, site.name)
        self.privacy = Privacy()
        self.bank: BankSettings | None = None
        self._facts: OrderFacts | None = None

    def admit(self) -> None:
        """Notes the order, and lets it in.

        Raises:
            Declined: with the reason.
        """
        order, policy = self.order, self.site.policy
        digest = travelling_digest(order.weights, order.control)
        self._append(_IN[self.task], "in", digest, groups=groups_of(order.weights), witness=order.head)
        if order.bank:
            self._append("embeddings", "in", travelling_digest(order.bank, {}), groups=sorted(order.bank))
        entries = self.ledger.entries()
        if self.task == "pretrain" and order.cfg.get("secure") is not None and not self.masked:
            raise Declined("secure: the run's config masks updates, and this order asks for one in the open")
        # Nothing that the order names is built before the policy has seen what it names.
        self._facts = self._read()
        check_order(policy, self._facts, entries, spent_after=Spent())
        self.privacy = instantiate(order.cfg.privacy)
        self.bank = bank_of(order.cfg)
        self._facts = self._read()
        patients = len(self.patients("train")) if self.task == "pretrain" else None
        check_order(policy, self._facts, entries, patients, self.spent(updates=1))

    def admit_embeddings(self) -> BankSettings:
        """Lets in what an admitted order asks for the bank: its settings, with this site's own least count.

        Raises:
            Declined: with the reason.
        """
        assert self._facts is not None and self.bank is not None, "asked after `admit`, in a run that has a bank"
        privacy = replace(self._facts.privacy, embeddings=self.bank.promise)
        self._facts = replace(self._facts, embeddings=True, privacy=privacy)
        check_order(self.site.policy, self._facts, self.ledger.entries())
        return self.bank.model_copy(update={"least": max(self.bank.least, self.site.policy.patients.cell)})

    def spent(self, updates: int = 0, embeddings: int = 0) -> Spent | None:
        """What the run will have spent after so many more releases; None where nothing counts its updates.

        Updates and embeddings are added (basic composition); `pretrain.federated.bank.embeddings` has the neighbours.
        """
        count = releases(self.ledger.entries(), self.order.run, UPDATES) + updates
        found = self.privacy.spent(count, replaced=self.bank is not None)
        return None if found is None else found + self._spent_by_bank(embeddings)

    def _spent_by_bank(self, more: int) -> Spent:
        if self.bank is None:
            return Spent()
        return self.bank.spent(releases(self.ledger.entries(), self.order.run, EMBEDDINGS) + more)

    @cached_property
    def cohort(self) -> Cohort:
        """This hospital's own patients."""
        return self._loaded[0]

    def patients(self, part: Part) -> list[str]:
        """Those of them who train, or who evaluate."""
        parts = self._loaded[1]
        return list(parts.train) if part == "train" else [*parts.validation, *parts.test]

    def behind(self, part: Part) -> dict[str, int]:
        """By modality, how many of them have it."""
        table = self.cohort.patients.loc[self.patients(part)]
        return {str(name): int(table[name].astype(bool).sum()) for name in self.order.cfg.modality}

    @cached_property
    def _loaded(self) -> tuple[Cohort, Split]:
        return load_cohort(self.site.own(self.order.cfg), [self.site.name])

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
        policy, kind = self.site.policy, _OUT[self.task]
        reply.metrics = suppress(policy, reply.metrics, patients, behind)
        spent = self.spent(updates=1) if self.task == "pretrain" else None
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

    def release_embeddings(self, reply: Reply, rows: Arrays) -> Reply:
        """Adds the site's share of the bank to an answer that may leave, noted before it does.

        Args:
            reply: as `release` gave it.
            rows: protected embeddings by modality.

        Raises:
            UserError: with the reason; the answer is then as it was.
        """
        assert self._facts is not None, "embeddings are released after they were admitted"
        policy, groups, spent = self.site.policy, sorted(rows), self.spent(embeddings=1)
        patients, privacy = len(self.patients("train")), self._facts.privacy
        facts = ReplyFacts("embeddings", patients, groups, privacy=privacy, spent=spent)
        check_reply(policy, self._facts, facts, self.ledger.entries())
        told = self._spent_by_bank(1) if spent is None else spent
        if not math.isfinite(told.epsilon):
            raise UserError("bank.noise: protects so little that no epsilon can be told; give more, or an epsilon")
        self._append(
            "embeddings",
            "out",
            travelling_digest(rows, {}),
            groups=groups,
            samples={name: len(values) for name, values in rows.items()},
            epsilon=told.epsilon,
            delta=told.delta,
            policy=policy.digest,
            note="" if spent is not None else "epsilon is that of the bank alone: nothing counts what updates tell",
        )
        reply.bank, reply.facts["head"] = rows, self.ledger.head
        return reply

    def told(self, samples: Mapping[str, int], behind: Mapping[str, int]) -> dict[str, int]:
        """The samples by group that may be told; the other groups stay at home."""
        return withhold(self.site.policy, samples, behind)

    def decline(self, error: UserError) -> str:
        """Notes that the site does not take part; the line that the server may read."""
        reason = public_reason(self.site.policy, error)
        self._append("decline", "out", None, note=printable(reason))
        return reason

    def _read(self) -> OrderFacts:
        cfg, order = self.order.cfg, self.order
        return order_facts(
            cfg,
            run=order.run,
            task=self.task,
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
