"""One round's training: sites are ordered to train, their updates taken in and combined, stage by stage."""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, MessageType, RecordDict
from flwr.serverapp import Grid

from foundation.federation.privacy import PrivateStrategy
from foundation.federation.secure import Secure, secure_round
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.components import ServerComponents
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.server.extension import ExtensionExchange
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.server.timing import PhaseTimer
from foundation.federation.server.update_similarity import update_similarity
from foundation.federation.server.updates import UpdateCollector
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.weights.update import SiteUpdate
from foundation.federation.wire.messages import Order, extension_records, pack_order, unpack_reply
from foundation.federation.wire.tensors import UnreadableError


class Round:
    """A round's training, and what history keeps of it.

    Args:
        grid: Flower's way to the nodes.
        components: strategy, compression, screening and protection of the run.
        ledger: the server's ledger.
        timer: of the round.
        checkpoints: of the run; updates that memory does not hold wait in its folder.
        extension: of the run, which gives each site what the others gave.
        memory_mib: of updates that memory holds.
        batch_size: patients that a site's process sees in a step.

    Attributes:
        absent: by site, why it gave no update.
        sites: by site that gave one, its samples, metrics, bytes and norms.
    """

    def __init__(
        self,
        grid: Grid,
        components: ServerComponents,
        ledger: ServerLedger,
        timer: PhaseTimer,
        checkpoints: Checkpoints,
        extension: ExtensionExchange,
        memory_mib: float,
        batch_size: int,
    ) -> None:
        self.grid = grid
        self.components = components
        self.ledger = ledger
        self.timer = timer
        self.checkpoints = checkpoints
        self.extension = extension
        self.memory_mib = memory_mib
        self.batch_size = batch_size
        self.absent: dict[str, str] = {}
        self.sites: dict[str, dict[str, Any]] = {}
        self._coverage: dict[str, dict[str, float]] = {}
        self._more: dict[str, Any] = {}

    def stage(self, order: Order, nodes: Mapping[str, int]) -> Arrays:
        """Lets some sites train from the order's weights; the weights that come of it."""
        self.ledger.ordered("order", order, nodes)
        more = {site: self.extension.for_site(order, site) for site in nodes}
        extra = {site: extension_records(arrays) for site, arrays in more.items()}
        if self.components.secure is not None:
            return self._masked(order, nodes, extra)
        folder = self.checkpoints.folder / "rounds" / ".updates"
        collector = UpdateCollector(order, self.components, self.ledger, folder, self.memory_mib)
        weighs = sum(value.nbytes for value in order.weights.values())
        sent = {site: weighs + sum(value.nbytes for value in arrays.values()) for site, arrays in more.items()}
        with self.timer.of("training"):
            on_reply, seconds = collector.on_reply, order.plan.deadline
            silent = send_and_collect(self.grid, MessageType.TRAIN, pack_order(order), nodes, seconds, on_reply, extra)
        with self.timer.of("aggregation"):
            collector.close()
            self.absent |= silent | collector.absent
            updates = {site: collector.updates[site] for site in nodes if site in collector.updates}
            weights = self._combine(order.weights, updates)
            self._more.setdefault("drift", {}).update(update_similarity(updates, self.checkpoints.buffers))
        for site, update in updates.items():
            self.sites[site] = _facts(update, sent[site])
        collector.clear()
        return weights

    def led(self, sites: Iterable[str], absent: Mapping[str, str]) -> None:
        """Notes a round that went by sums: who was in the last of them, and why others were not."""
        self.absent |= absent
        self.sites |= {site: {"samples": {}, "metrics": {}, "bytes": {}, "norms": {}} for site in sites}

    def facts(self) -> dict[str, Any]:
        """What history keeps."""
        facts = {"coverage": self._coverage, "training": self.sites, **self._more}
        if isinstance(self.components.strategy, PrivateStrategy):
            facts["privacy"] = self.components.strategy.record()
        return facts

    def _combine(self, before: Arrays, updates: Mapping[str, SiteUpdate]) -> Arrays:
        aggregate = self.components.strategy.combine(before, updates, self.checkpoints.buffers)
        for group, shares in aggregate.coverage.items():
            self._coverage.setdefault(group, {}).update(shares)
        return aggregate.weights

    def _masked(self, order: Order, nodes: Mapping[str, int], extra: Mapping[str, Mapping[str, ArrayRecord]]) -> Arrays:
        """The same where the server sees nothing but sums."""
        assert self.components.secure is not None
        before = dict(order.weights)
        with self.timer.of("training"):
            masked = secure_round(
                self.grid,
                nodes,
                pack_order(order),
                before,
                self._wide_enough(before),
                order.plan.steps * self.batch_size * self.components.secure.processes,
                order.round,
                order.plan.deadline,
                extra=extra,
            )
        self.absent |= masked.absent
        for site in masked.took_part:
            metrics = _metrics(masked.replies[site])
            self.ledger.summed(order, site, masked.bytes[site]["from_site"])
            self.sites[site] = {"samples": {}, "metrics": metrics, "bytes": masked.bytes[site], "norms": {}}
        with self.timer.of("aggregation"):
            weights = self._combine(before, {"sum of sites": masked.update})
        self._more["secure"] = {
            "samples": masked.samples,
            "contributors": masked.contributors,
            "withheld": masked.withheld,
            "reduced": masked.reduced,
            "clipped": masked.clipped,
        }
        return weights

    def _wide_enough(self, before: Weights) -> Secure:
        """Secure aggregation's settings, with room for the sites' own noise, which clipping would take away."""
        secure, strategy = self.components.secure, self.components.strategy
        assert secure is not None
        if not isinstance(strategy, PrivateStrategy):
            return secure
        return secure.at_least(strategy.longest(before))


def _metrics(content: RecordDict) -> dict[str, float]:
    """What the open part of a masked reply measures; nothing where it cannot be read, for its sum counts already."""
    try:
        return getattr(unpack_reply(content), "metrics", {})
    except UnreadableError:
        return {}


def _facts(update: SiteUpdate, sent: int) -> dict[str, Any]:
    return {
        "samples": update.samples,
        "metrics": update.metrics,
        "bytes": {"to_site": sent, "from_site": update.size},
        "norms": update.norms,
    }
