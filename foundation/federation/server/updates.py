"""The collector of a round's updates: kept array by array, screened, and named when they are refused."""

from pathlib import Path

from flwr.app import Message

from foundation.errors import UserError
from foundation.federation.ledger.entry import printable
from foundation.federation.ledger.writer import UnfitError
from foundation.federation.server.bounds import check_control, check_names
from foundation.federation.server.components import ServerComponents
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.weights.lazy import DiskSpill
from foundation.federation.weights.types import Arrays
from foundation.federation.weights.update import SiteUpdate
from foundation.federation.wire.messages import Decline, Order, Reply, unpack_reply
from foundation.federation.wire.tensors import UnreadableError

_MIB = 2**20


class UpdateCollector:
    """Takes in the answers to one order.

    Args:
        order: that went out.
        components: compression and screening of the run.
        ledger: the server's ledger.
        folder: for updates that memory does not hold.
        memory_mib: that they may take.

    Attributes:
        updates: by site, those that were taken.
        absent: by site, why there is none of it.
    """

    def __init__(
        self, order: Order, components: ServerComponents, ledger: ServerLedger, folder: Path, memory_mib: float
    ) -> None:
        self.order = order
        self.components = components
        self.ledger = ledger
        self.folder = folder
        self.updates: dict[str, SiteUpdate] = {}
        self.absent: dict[str, str] = {}
        self._controls: dict[str, dict[str, float]] = {}
        self._room = int(memory_mib * _MIB)
        self._kept: list[DiskSpill] = []

    def on_reply(self, site: str, message: Message) -> None:
        """Reads one answer; a bad one is refused with its reason, and the round goes on without it."""
        try:
            answer = unpack_reply(message.content)
        except UnreadableError as error:
            self._refuse(site, str(error))
            return
        if isinstance(answer, Decline):
            self.ledger.declined(self.order, site, answer.reason)
            self.absent[site] = f"declined: {answer.reason}"
            return
        try:
            size = self.ledger.received("update", self.order, site, answer)
        except (UnfitError, UnreadableError) as error:  # any other error is the ledger's own, and ends the run
            self._refuse(site, str(error))
            return
        try:
            self.updates[site] = self._decode(site, answer, size)
        except UserError as error:
            self._refuse(site, str(error))

    def close(self) -> None:
        """Refuses updates that stand out from the others; call it when everybody has answered."""
        norms = {site: update.norms for site, update in self.updates.items()}
        screening = self.components.screening
        for site, reason in (screening.outliers(self._controls) | screening.outliers(norms)).items():
            del self.updates[site]
            self._refuse(site, reason)

    def clear(self) -> None:
        """Forgets the arrays."""
        for kept in self._kept:
            kept.clear()

    def _refuse(self, site: str, reason: str) -> None:
        reason = printable(reason)  # it may name an array, which the site called as it liked
        self.ledger.refused(self.order, site, reason)
        self.absent[site] = f"update refused: {reason}"

    def _decode(self, site: str, reply: Reply, size: int) -> SiteUpdate:
        order, screening, asked = self.order, self.components.screening, self.order.plan.strategy.scaffold
        check_names(site, order.weights, self.components.compression.decode(reply.update))
        self._controls[site] = check_control(site, order.weights, reply.control, screening.longest, asked)
        difference = self.components.compression.decode(self._keep(f"{site}-update", reply.update))
        most = order.plan.most_samples(screening.processes)
        norms = screening.check(site, order.weights, difference, reply.samples, most, order.buffers)
        control = self._keep(f"{site}-control", reply.control)
        return SiteUpdate(difference, reply.samples, control, reply.metrics, norms, size)

    def _keep(self, name: str, arrays: Arrays) -> DiskSpill:
        """Arrays as they travelled, so that they take no more room than on the way."""
        spill = DiskSpill(self.folder / name, self._room)
        self._kept.append(spill)
        for key, value in arrays.items():
            spill.put(key, value)
        self._room = spill.budget
        return spill
