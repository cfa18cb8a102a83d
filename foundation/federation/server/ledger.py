"""The server's own ledger: every order that goes out, every answer that comes in."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from foundation.federation.groups import groups_of
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import SERVER, Direction, printable
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import Order, Reply, travelling_digest

OrderKind = Literal["order", "evaluation", "statistics"]
ReplyKind = Literal["update", "evaluation", "statistics"]


class ServerLedger:
    """The server's ledger of a run.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger.open(path, SERVER, "server")

    @property
    def head(self) -> str:
        """Hash of the latest entry, for the other side to keep."""
        return self.ledger.head

    def ordered(self, kind: OrderKind, order: Order, sites: Iterable[str]) -> None:
        """Notes an order to some sites; call it before it goes out."""
        digest = travelling_digest(order.weights, order.control)
        for site in sites:
            self.ledger.append(
                kind,
                "out",
                run=order.run,
                round=order.round,
                peer=site,
                groups=groups_of(order.weights),
                size=digest.bytes,
                digest=digest.hexdigest(),
            )

    def received(self, kind: ReplyKind, order: Order, site: str, reply: Reply) -> int:
        """Notes an answer; the bytes of its arrays."""
        digest = travelling_digest(reply.update, reply.control)
        self.ledger.append(
            kind,
            "in",
            run=order.run,
            round=order.round,
            peer=site,
            groups=[group for group, count in reply.samples.items() if count],
            size=digest.bytes,
            digest=digest.hexdigest(),
            samples={group: count for group, count in reply.samples.items() if count >= 0},  # below: refused later
            metrics=reply.metrics,
            witness=str(reply.facts.get("head", "")),
        )
        return digest.bytes

    def embeddings(self, way: Direction, order: Order, site: str, rows: Arrays) -> None:
        """Notes arrays of the run's extension: what goes to a site, before it does, or what came from one."""
        digest = travelling_digest(rows, {})
        self.ledger.append(
            "embeddings",
            way,
            run=order.run,
            round=order.round,
            peer=site,
            groups=[printable(name) for name in sorted(rows)],
            size=digest.bytes,
            digest=digest.hexdigest(),
        )

    def releases(self, run: str) -> int:
        """How often the site that did most often has given arrays for a run's extension."""
        entries = self.ledger.entries()
        sent = [entry for entry in entries if entry.kind == "embeddings" and entry.direction == "in"]
        return max(Counter(entry.peer for entry in sent if entry.run == run).values(), default=0)

    def summed(self, order: Order, site: str, size: int) -> None:
        """Notes a masked update: the server has nothing of it but its share of a sum."""
        self.ledger.append("update", "in", run=order.run, round=order.round, peer=site, size=size, masked=True)

    def declined(self, order: Order, site: str, reason: str) -> None:
        """Notes that a site does not take part."""
        self.ledger.append("decline", "in", run=order.run, round=order.round, peer=site, note=printable(reason))

    def refused(self, order: Order, site: str, reason: str) -> None:
        """Notes that the server does not take an update."""
        self.ledger.append("refusal", run=order.run, round=order.round, peer=site, note=printable(reason))
