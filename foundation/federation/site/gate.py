"""Admission of orders against the site's policy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

from flwr.app import RecordDict

from foundation.data.dictionary import dictionary_digest
from foundation.errors import UserError
from foundation.federation.extension import Extension
from foundation.federation.groups import groups_of
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import SERVER, Direction, Entry, Kind, OrderKind, printable
from foundation.federation.ledger.spent import EMBEDDINGS, UPDATES, Spent, releases
from foundation.federation.ledger.writer import Facts
from foundation.federation.plan.standing import NEWS
from foundation.federation.policy import Declined, OrderFacts, check_order, order_facts, public_reason
from foundation.federation.privacy import Privacy
from foundation.federation.secure import SecureOrder, crowd
from foundation.federation.site.anchors import check_anchors
from foundation.federation.site.approvals import check_approved, check_sequence
from foundation.federation.site.components import compressor_of, privacy_of, privacy_settings, secure_of
from foundation.federation.site.composition import compose_config
from foundation.federation.site.config import Site
from foundation.federation.site.queries import check_query, query_digest
from foundation.federation.site.standing import check_bounds, check_members, check_news
from foundation.federation.sums.fixed_point import GROUP, RANGE
from foundation.federation.task import FederatedTask, Part
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.messages import Order, travelling_digest
from foundation.run_record import digest_of

OrderType = Literal["train", "evaluate", "statistics", "sums"]
_ENTRY_KINDS: dict[OrderType, OrderKind] = {
    "train": "order",
    "evaluate": "evaluation",
    "statistics": "statistics",
    "sums": "statistics",
}
_IN_TURN = ("train", "evaluate")  # of sums, a round may ask many
_OF_TASK = ("train", "sums")  # what is judged by the name of the run's task


class PolicyGate:
    """Holds an order against the site's policy, and writes what comes in into the site's ledger.

    What leaves passes the filters of `site.outgoing`, which find here whose order they answer.

    Args:
        site: whose.
        order: that came.
        order_type: what it asks for.
        masked: whether its message asks for an update that secure aggregation masks.

    Attributes:
        task: that the run trains, on this hospital's patients; there is none before its class was let in.
        privacy: what the run does to updates.
        compression: how narrow they travel.
        extension: what it exchanges beside weights; None if nothing.
        facts: of the order, as policies judge it; none before it was let in.
        settings: of privacy in this round.
        statistics: names of those that it asks for.
        split: digest of who trains, validates and is held out here; empty before patients were read.
    """

    task: FederatedTask
    facts: OrderFacts

    def __init__(self, site: Site, order: Order, order_type: OrderType, masked: bool = False) -> None:
        self.site = site
        self.order = order
        self.order_type: OrderType = order_type
        asked = {"statistics": tuple(order.plan.statistics), "sums": (order.sums,)}
        self.statistics: tuple[str, ...] = asked.get(order_type, ())
        self.masked = masked
        self.ledger = Ledger.open(site.ledger, site.name)
        self.privacy = Privacy()
        self.compression = Compressor()
        self.settings = privacy_settings(order)
        self.extension: Extension | None = None
        self.split = ""

    def admit(self) -> None:
        """Notes the order, and lets it in.

        Raises:
            Declined: with the reason.
        """
        order, policy = self.order, self.site.policy
        digest = travelling_digest(order.weights, order.control)
        kind = _ENTRY_KINDS[self.order_type]
        self.note(kind, "in", digest, groups=groups_of(order.weights), witness=order.head, steps=self._steps())
        if order.extension:
            self.note("embeddings", "in", travelling_digest(order.extension, {}), groups=sorted(order.extension))
        entries = self.ledger.entries()
        check_anchors(self.site, entries, order.receipts)
        self._check_role()
        # No model is built, and no patient read, before the policy has seen all that the plan asks.
        self.privacy = privacy_of(order.plan)
        self.compression = compressor_of(order.plan)
        self.facts = self._read()
        check_order(policy, self.facts, entries, spent_after=Spent())
        check_members(self.site, order.plan)
        check_approved(self.site, self.ledger, order.plan, order.run, entries)
        if self.order_type in _IN_TURN:
            check_sequence(kind, "update" if kind == "order" else kind, order.run, order.round, entries)
        cfg = compose_config(self.site, order.plan)
        if order.plan.dictionary not in (None, dictionary_digest(Path(cfg.data.folder))):
            raise Declined("plan: dictionary: not the one that this hospital prepared its cohort against; prepare anew")
        self.task = self._kind()(cfg, self.site.name)
        self.task.home = self.site.state
        self.extension = self.task.extension()
        self._keep_split(entries)
        self._check_rests(entries)
        if self.order_type != "train":
            check_query(self.site, entries, self.task.patients(self._part()))
        trained_on = self.task.patients("train") if self.order_type == "train" else None
        if trained_on is not None:
            check_bounds(self.site, order.plan, order.run, order.round, entries, trained_on, self.spent(updates=1))
        patients = None if trained_on is None else len(trained_on)
        check_order(policy, self.facts, entries, patients, self.spent(updates=1))

    def admit_extension(self) -> int:
        """Lets in what an admitted order asks for the run's extension; patients below whom no count leaves this site.

        Raises:
            Declined: with the reason.
        """
        assert self.extension is not None, "asked after `admit`, in a run that has one"
        privacy = replace(self.facts.privacy, embeddings=self.extension.promise)
        self.facts = replace(self.facts, embeddings=True, privacy=privacy)
        check_order(self.site.policy, self.facts, self.ledger.entries())
        return self.site.policy.patients.cell

    def spent(self, updates: int = 0, embeddings: int = 0) -> Spent | None:
        """What the run will have spent after so many more releases; None where nothing counts its updates.

        Updates and embeddings are added (basic composition), for neighbours of which one has other updates, not none.
        """
        count = releases(self.ledger.entries(), self.order.run, UPDATES) + updates
        spent = self.privacy.spent(count, replaced=self.extension is not None)
        return None if spent is None else spent + self.spent_by_extension(embeddings)

    def spent_by_extension(self, more: int) -> Spent:
        """What the run's extension alone will have spent after so many more releases."""
        if self.extension is None:
            return Spent()
        return self.extension.spent(releases(self.ledger.entries(), self.order.run, EMBEDDINGS) + more)

    def secure_order(self, content: RecordDict) -> SecureOrder:
        """What the order says of masks, if it is what the plan comes to.

        Raises:
            Declined: if it is not.
        """
        secure, plan = secure_of(self.order.plan), self.order.plan
        assert secure is not None, "checked before"
        if self.order_type == "sums":
            return self._read_secure(content, SecureOrder.of(replace(secure, statistic_range=RANGE), 1, [GROUP]))
        secure = secure.at_least(self.privacy.longest(self.order.weights, self.settings))
        most = plan.most_samples(secure.processes)
        return self._read_secure(content, SecureOrder.of(secure, most or 0, groups_of(self.order.weights)))

    def _read_secure(self, content: RecordDict, expected: SecureOrder) -> SecureOrder:
        """The order's own words about masks, held against what they should be."""
        asked = self.order.plan.secure
        assert asked is not None, "checked before"
        least = max(asked.minimum_sites, self.site.policy.privacy.min_sites)
        if crowd(content) < least:
            raise Declined(f"secure: fewer than {least} sites' keys came with the order, and a sum of few is no sum")
        try:
            order = SecureOrder.read(content)
        except (KeyError, ValueError, AssertionError) as error:
            raise Declined("secure: the order says nothing that could be read of its masks") from error
        if self.order_type == "train" and self.order.plan.settings.batch_size is None:
            expected = replace(expected, most=order.most)
        if order != expected:
            raise Declined("secure: counts, ranges or groups of the order's masks are not those of its plan")
        return order

    def fail(self, error: Exception) -> None:
        """Notes that an order ended without an answer, by the kind of what went wrong alone."""
        self.note("failure", None, None, note=printable(type(error).__name__))

    def decline(self, error: UserError) -> str:
        """Notes that the site does not take part; the line that the server may read."""
        reason = public_reason(self.site.policy, error)
        self.note("decline", "out", None, note=printable(reason))
        return reason

    def _steps(self) -> int | None:
        return self.order.plan.steps if self.order_type == "train" else None

    def _part(self) -> Part:
        trains = self.site.name in self.order.plan.training
        return "train" if trains and self.order_type != "evaluate" else "evaluation"

    def _keep_split(self, entries: Sequence[Entry]) -> None:
        """Holds the split to the one that the run began with: the site draws it once.

        Raises:
            Declined: if this hospital's patients are others than when the run began.
        """
        parts = self.task.split
        self.split = digest_of([parts.train, parts.validation, parts.test])
        kept = {entry.split for entry in entries if entry.run == self.order.run and entry.split}
        if kept - {self.split}:
            raise Declined("split: this hospital's patients changed since the run began; begin another run")

    def _check_rests(self, entries: Sequence[Entry]) -> None:
        """Lets a run of a plan that recurs ask nothing, statistics and evaluations included, of who sits it out.

        Raises:
            Declined: if this hospital trains in it, and has too few new patients; `sums_here` gives the word itself.
        """
        plan = self.order.plan
        if plan.standing is not None and self.site.name in plan.training and self.order.sums != NEWS:
            check_news(self.site, plan, self.order.run, entries, self.task.patients("train"))

    def _check_role(self) -> None:
        """Holds the order against this hospital's part in the plan.

        Raises:
            Declined: with the reason.
        """
        plan, order = self.order.plan, self.order
        if self.site.name not in plan.sites:
            raise Declined("plan: this hospital has no part in it")
        everywhere = self.order_type == "evaluate" or order.sums in self._kind().sums_everywhere
        if not everywhere and self.site.name not in plan.training:
            raise Declined("plan: this hospital is held out, and evaluates only")
        if self.order_type != "sums" and (order.round == 0) != (self.order_type == "statistics"):
            raise Declined("order: round: training and evaluation are of a round, statistics before the first")
        # What is handed over is acknowledged alone, and tells of nobody.
        tells = self.order_type == "train" or (self.order_type == "sums" and bool(order.shapes))
        if (plan.secure is not None) != self.masked and (tells or self.masked):
            raise Declined("secure: masks are asked for in the order or in its plan, and not in the other")
        if tells and self.order_type == "sums" and plan.noise is not None:
            raise Declined("privacy: sums are exact, and the noise that the plan promises covers updates alone")

    def _kind(self) -> type[FederatedTask]:
        return self.site.tasks()[self.order.plan.task]

    def _read(self) -> OrderFacts:
        order = self.order
        task = order.plan.task if self.order_type in _OF_TASK else self.order_type
        promises = self.privacy.promises(self.settings, self.masked)
        facts = order_facts(order.plan, order.run, order.round, task, promises, self.statistics)
        return replace(facts, exact=self.order_type != "train")

    def note(
        self, kind: Kind, direction: Direction | None, arrays: WeightsDigest | None, **facts: Unpack[Facts]
    ) -> None:
        """Writes an entry of the order's run and round into the ledger; of what leaves, before it does."""
        facts["run"], facts["round"], facts["peer"] = self.order.run, self.order.round, SERVER
        facts["plan"] = self.order.plan.digest
        if self.order.plan.standing is not None:
            facts["standing"] = self.order.plan.approved_as
        if direction == "out" and self.split:
            facts["split"], facts["query"] = self.split, query_digest(self.task.patients(self._part()))
        if arrays is not None:
            facts["size"], facts["digest"] = arrays.bytes, arrays.hexdigest()
        self.ledger.append(kind, direction, **facts)
