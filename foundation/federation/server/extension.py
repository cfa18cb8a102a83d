"""The server's side of a run's extension: it takes in what sites give at the end of a round, for the others' next."""

from collections.abc import Mapping
from typing import Any

from foundation.errors import UserError
from foundation.federation.extension import Extension, is_asked
from foundation.federation.ledger.entry import printable
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.wire.messages import REFUSAL, Order, Reply


class ExtensionExchange:
    """What sites gave in the latest round.

    Args:
        extension: of the run; None where it has none, and refuses whatever comes.
        ledger: the server's ledger.
        arrays: by site, of the round before.

    Attributes:
        arrays: by site, of the latest round: older ones were seen with older weights, and are not kept.
        none: by site that was asked in the latest round, why there are none of it.
    """

    def __init__(
        self, extension: Extension | None, ledger: ServerLedger, arrays: Mapping[str, Arrays] | None = None
    ) -> None:
        self.extension = extension
        self.ledger = ledger
        self.arrays: dict[str, Arrays] = dict(arrays or {})
        self.none: dict[str, str] = {}

    def begin(self) -> None:
        """Forgets the arrays of the round before; call it when nobody needs them any more."""
        self.arrays, self.none = {}, {}

    def on_reply(self, order: Order, site: str, reply: Reply) -> None:
        """Takes in what a site gives; what is bad is refused with the reason, and its evaluation counts all the same.

        Args:
            order: to evaluate.
            site: that answers.
            reply: its answer.
        """
        if reply.extension:
            self.ledger.embeddings("in", order, site, reply.extension)
            try:
                self.arrays[site] = self._receive(order, site, reply.extension)
            except UserError as error:
                self.ledger.refused(order, site, str(error))
                self.none[site] = f"refused: {printable(str(error))}"
        elif REFUSAL in reply.facts:
            reason = printable(str(reply.facts[REFUSAL]))
            self.ledger.declined(order, site, reason)
            self.none[site] = reason
        elif self.extension is not None and is_asked(order, site):
            self.none[site] = "sent none, and no reason"

    def for_site(self, order: Order, site: str) -> Weights:
        """What a site gets with an order to train, noted before it goes out; nothing if nobody else gave any."""
        arrays = {} if self.extension is None else self.extension.for_site(self.arrays, site)
        if arrays:
            self.ledger.embeddings("out", order, site, arrays)
        return arrays

    def facts(self, run: str, updates: Mapping[str, Any] | None) -> dict[str, Any]:
        """What history keeps of a round: who gave how many rows, who gave none and why, and what a patient has spent.

        Args:
            run: its name.
            updates: the record of the run's privacy; None where updates are not protected.
        """
        if self.extension is None:
            return {}
        rows = {site: {name: len(values) for name, values in arrays.items()} for site, arrays in self.arrays.items()}
        spent = self.extension.record(self.ledger.releases(run), updates)
        return {self.extension.name: {"rows": rows, "none": dict(self.none), **spent}}

    def _receive(self, order: Order, site: str, arrays: Arrays) -> Weights:
        if self.extension is None or not is_asked(order, site):
            name = "extension" if self.extension is None else self.extension.name
            raise UserError(f"site {site}: {name}: was not asked for; leave this site out")
        return self.extension.receive(site, arrays)
