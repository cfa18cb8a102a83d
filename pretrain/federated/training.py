"""One round's training: sites are ordered to train, their updates taken in and combined, wave by wave."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, MessageType
from flwr.serverapp import Grid

from pretrain.federated.agreement import agreement
from pretrain.federated.asking import ask
from pretrain.federated.bank_rounds import SharedBank
from pretrain.federated.clock import Clock
from pretrain.federated.messages import Order, bank_records, pack_order, unpack_reply
from pretrain.federated.parts import Parts
from pretrain.federated.privacy import PrivateStrategy
from pretrain.federated.reception import Received, Reception
from pretrain.federated.rounds import Rounds
from pretrain.federated.secure import Secure, secure_round
from pretrain.federated.server_book import ServerBook
from pretrain.federated.stored import Arrays
from pretrain.federated.strategies.base import SiteUpdate
from pretrain.fit import Weights


class Training:
    """A round's training, and what history keeps of it.

    Args:
        grid: Flower's way to the nodes.
        parts: strategy, codec, screening and protection of the run.
        book: the server's ledger.
        clock: of the round.
        rounds: of the run; updates that memory does not hold wait in its folder.
        bank: of the run, which gives each site the others' rows.

    Attributes:
        absent: by site, why it gave no update.
        sites: by site that gave one, its samples, metrics, bytes and norms.
    """

    def __init__(
        self, grid: Grid, parts: Parts, book: ServerBook, clock: Clock, rounds: Rounds, bank: SharedBank
    ) -> None:
        self.grid = grid
        self.parts = parts
        self.book = book
        self.clock = clock
        self.rounds = rounds
        self.bank = bank
        self.absent: dict[str, str] = {}
        self.sites: dict[str, dict[str, Any]] = {}
        self._coverage: dict[str, dict[str, float]] = {}
        self._more: dict[str, Any] = {}

    def wave(self, order: Order, nodes: Mapping[str, int]) -> Arrays:
        """Lets some sites train from the order's weights; the weights that come of it."""
        self.book.ordered("order", order, nodes)
        rows = {site: self.bank.hand(order, site) for site in nodes}
        own = {site: bank_records(given) for site, given in rows.items()}
        if self.parts.secure is not None:
            return self._masked(order, nodes, own)
        folder = self.rounds.folder / "rounds" / ".updates"
        reception = Reception(order, self.parts, self.book, folder)
        weighs = sum(value.nbytes for value in order.weights.values())
        sent = {site: weighs + sum(value.nbytes for value in given.values()) for site, given in rows.items()}
        with self.clock.of("training"):
            hear, seconds = reception.hear, order.cfg.deadline
            silent = ask(self.grid, MessageType.TRAIN, pack_order(order), nodes, seconds, hear, own)
        with self.clock.of("aggregation"):
            reception.close()
            self.absent |= silent | reception.absent
            updates = {site: reception.updates[site] for site in nodes if site in reception.updates}
            weights = self._combine(order.weights, updates)
            self._more.setdefault("drift", {}).update(agreement(updates, self.rounds.buffers))
        for site, update in updates.items():
            self.sites[site] = _facts(update, sent[site])
        reception.clear()
        return weights

    def facts(self) -> dict[str, Any]:
        """What history keeps."""
        facts = {"coverage": self._coverage, "training": self.sites, **self._more}
        if isinstance(self.parts.strategy, PrivateStrategy):
            facts["privacy"] = self.parts.strategy.record()
        return facts

    def _combine(self, before: Arrays, updates: Mapping[str, SiteUpdate]) -> Arrays:
        found = self.parts.strategy.combine(before, updates, self.rounds.buffers)
        for group, shares in found.coverage.items():
            self._coverage.setdefault(group, {}).update(shares)
        return found.weights

    def _masked(self, order: Order, nodes: Mapping[str, int], own: Mapping[str, Mapping[str, ArrayRecord]]) -> Arrays:
        """The same where the server sees nothing but sums."""
        assert self.parts.secure is not None
        before = dict(order.weights)
        with self.clock.of("training"):
            found = secure_round(
                self.grid,
                nodes,
                pack_order(order),
                before,
                self._wide_enough(before),
                order.cfg.steps_per_round * order.cfg.data.batch_size * self.parts.secure.processes,
                order.round,
                order.cfg.deadline,
                own=own,
            )
        self.absent |= found.absent
        for site in found.took_part:
            open_part = unpack_reply(found.replies[site])
            metrics = getattr(open_part, "metrics", {})
            self.book.summed(order, site, found.bytes[site]["from_site"])
            self.sites[site] = {"samples": {}, "metrics": metrics, "bytes": found.bytes[site], "norms": {}}
        with self.clock.of("aggregation"):
            weights = self._combine(before, {"sum of sites": found})
        self._more["secure"] = {
            "samples": found.samples,
            "contributors": found.contributors,
            "withheld": found.withheld,
            "reduced": found.reduced,
            "clipped": found.clipped,
        }
        return weights

    def _wide_enough(self, before: Weights) -> Secure:
        """Secure aggregation's settings, with room for the sites' own noise, which clipping would take away."""
        secure, strategy = self.parts.secure, self.parts.strategy
        assert secure is not None
        if not isinstance(strategy, PrivateStrategy):
            return secure
        return replace(secure, norm=max(secure.norm, strategy.longest(before)))


def _facts(update: Received, sent: int) -> dict[str, Any]:
    return {
        "samples": update.samples,
        "metrics": update.metrics,
        "bytes": {"to_site": sent, "from_site": update.size},
        "norms": update.norms,
    }
