"""The server's own ledger: every order that goes out, every answer that comes in."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Unpack

from foundation.federation.groups import groups_of
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import SERVER, Direction, Kind, OrderKind, printable
from foundation.federation.ledger.writer import Facts
from foundation.federation.server.receipts import ReceiptBook
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.digest import WeightsDigest
from foundation.federation.wire.messages import Order, Reply, travelling_digest

ReplyKind = Literal["update", "evaluation", "statistics"]


class ServerLedger:
    """The server's ledger of a run.

    Args:
        path: of the file.
        book: of receipts of the sites' own ledgers; None where sites have no keys.
    """

    def __init__(self, path: Path, book: ReceiptBook | None = None) -> None:
        self.book = book
        self.ledger = Ledger.open(path, SERVER, "server")

    @property
    def head(self) -> str:
        """Hash of the latest entry, for the other side to keep."""
        return self.ledger.head

    def ordered(self, kind: OrderKind, order: Order, sites: Iterable[str]) -> None:
        """Notes an order to some sites; call it before it goes out."""
        digest = travelling_digest(order.weights, order.control)
        for site in sites:
            self._note(kind, "out", order, site, digest, groups=groups_of(order.weights))

    def received(self, kind: ReplyKind, order: Order, site: str, reply: Reply) -> int:
        """Notes an answer, and keeps the head of the site's ledger; the bytes of its arrays.

        Raises:
            UnreadableError: if that head is not signed, or the ledger was rolled back.
        """
        if self.book is not None:
            self.book.take(site, reply)
        digest = travelling_digest(reply.update, reply.control)
        groups = [group for group, count in reply.samples.items() if count]
        samples = {group: count for group, count in reply.samples.items() if count >= 0}  # below: refused later
        head = str(reply.facts.get("head", ""))
        self._note(kind, "in", order, site, digest, groups=groups, samples=samples, metrics=reply.metrics, witness=head)
        return digest.bytes

    def embeddings(self, way: Direction, order: Order, site: str, rows: Arrays) -> None:
        """Notes arrays of the run's extension: what goes to a site, before it does, or what came from one."""
        groups = [printable(name) for name in sorted(rows)]
        self._note("embeddings", way, order, site, travelling_digest(rows, {}), groups=groups)

    def releases(self, run: str) -> int:
        """How often the site that did most often has given arrays for a run's extension."""
        entries = self.ledger.entries()
        sent = [entry for entry in entries if entry.kind == "embeddings" and entry.direction == "in"]
        return max(Counter(entry.peer for entry in sent if entry.run == run).values(), default=0)

    def summed(self, order: Order, site: str, size: int, kind: ReplyKind = "update") -> None:
        """Notes a masked answer: the server has nothing of it but its share of a sum."""
        self._note(kind, "in", order, site, size=size, masked=True)

    def declined(self, order: Order, site: str, reason: str) -> None:
        """Notes that a site does not take part."""
        self._note("decline", "in", order, site, note=printable(reason))

    def refused(self, order: Order, site: str, reason: str) -> None:
        """Notes that the server does not take an update."""
        self._note("refusal", None, order, site, note=printable(reason))

    def _note(
        self,
        kind: Kind,
        way: Direction | None,
        order: Order,
        site: str,
        arrays: WeightsDigest | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        if arrays is not None:
            facts["size"], facts["digest"] = arrays.bytes, arrays.hexdigest()
        facts["run"], facts["round"], facts["peer"] = order.run, order.round, site
        self.ledger.append(kind, way, **facts)
