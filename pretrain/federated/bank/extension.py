"""The shared bank in the rounds: at a round's end sites give their rows, in the next each gets those of the others.

A site gives when it is asked to evaluate, for then it has the weights that the round became, which hold no more of its
patients than its updates did. What it may not or cannot give takes nothing from its evaluation.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from foundation.errors import UserError
from foundation.federation.server.ledger import ServerLedger, printable
from foundation.federation.site.gate import PolicyGate
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import Order, Reply
from pretrain.federated.bank.accounting import bank_record
from pretrain.federated.bank.embeddings import Rows, check_rows, for_site, release, secret_generator
from pretrain.federated.bank.settings import BankSettings

_log = logging.getLogger(__name__)
_REASON = "bank"  # among a reply's facts: why the site gives nothing


def is_asked(order: Order, site: str) -> bool:
    """Whether an order to evaluate asks a site for its rows: those who train are asked, where a round follows."""
    cfg = order.cfg
    return cfg.get("bank") is not None and order.round < cfg.rounds and site not in cfg.data.test_hospitals


def give(gate: PolicyGate, reply: Reply) -> Reply:
    """Adds a site's rows to its evaluation as its policy allows; else the reason, and the evaluation leaves without."""
    cfg, site = gate.order.cfg, gate.site
    try:
        settings = gate.admit_embeddings()
        local = tuple(cfg.strategy.get("local") or ())
        rows = release(site.own(cfg), site.name, dict(gate.order.weights), settings, secret_generator(), local)
        if not rows:
            raise UserError(f"bank.least: fewer than {settings.least} patients drawn of every modality; none leave")
        return gate.release_embeddings(reply, rows)
    except UserError as error:
        _log.warning("%s: gives nothing to the bank: %s", site.name, error)
        reply.facts |= {_REASON: gate.decline(error), "head": gate.ledger.head}
        return reply


class SharedBank:
    """The server's side: takes in what sites give at the end of a round, and hands it to the others in the next.

    Args:
        settings: of the run; None where it has no bank, and refuses whatever comes.
        width: of the run's embeddings.
        book: the server's ledger.
        rows: by site, of the round before.

    Attributes:
        rows: by site, of the latest round: older ones were seen with older weights, and are not kept.
        none: by site that was asked in the latest round, why there are none of it.
    """

    def __init__(
        self, settings: BankSettings | None, width: int, book: ServerLedger, rows: Mapping[str, Arrays] | None = None
    ) -> None:
        self.settings = settings
        self.width = width
        self.book = book
        self.rows: dict[str, Arrays] = dict(rows or {})
        self.none: dict[str, str] = {}

    def begin(self) -> None:
        """Forgets the rows of the round before; call it when nobody needs them any more."""
        self.rows, self.none = {}, {}

    def hear(self, order: Order, site: str, reply: Reply) -> None:
        """Takes in a site's rows; bad ones are refused with the reason, and the site's evaluation counts all the same.

        Args:
            order: to evaluate.
            site: that answers.
            reply: its answer.
        """
        if reply.bank:
            self.book.embeddings("in", order, site, reply.bank)
            try:
                self.rows[site] = self._taken(order, site, reply.bank)
            except UserError as error:
                self.book.refused(order, site, str(error))
                self.none[site] = f"refused: {printable(str(error))}"
        elif _REASON in reply.facts:
            reason = printable(str(reply.facts[_REASON]))
            self.book.declined(order, site, reason)
            self.none[site] = reason
        elif is_asked(order, site):
            self.none[site] = "sent none, and no reason"

    def hand(self, order: Order, site: str) -> Rows:
        """What a site gets with an order to train, noted before it goes out; nothing if nobody else gave any."""
        rows = for_site(self.rows, site)
        if rows:
            self.book.embeddings("out", order, site, rows)
        return rows

    def facts(self, run: str, updates: Mapping[str, Any] | None) -> dict[str, Any]:
        """What history keeps of a round: who gave how many rows, who gave none and why, and what a patient has spent.

        Args:
            run: its name.
            updates: the record of the run's privacy; None where updates are not protected.
        """
        if self.settings is None:
            return {}
        counts = {site: {name: len(own) for name, own in rows.items()} for site, rows in self.rows.items()}
        spent = bank_record(self.settings, self.book.releases(run), updates)
        return {"bank": {"rows": counts, "none": dict(self.none), **spent}}

    def _taken(self, order: Order, site: str, rows: Arrays) -> Rows:
        if self.settings is None or not is_asked(order, site):
            raise UserError(f"site {site}: bank: was not asked for; leave this site out")
        check_rows(rows, self.settings, site, self.width)
        return {name: np.array(values, dtype=np.float32) for name, values in rows.items()}  # the message is let go
