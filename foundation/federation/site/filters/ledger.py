"""The entry in the site's ledger, before anything leaves."""

from dataclasses import replace

from foundation.federation.site.anchors import keep_anchor
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import RECEIPT, travelling_digest


class LedgerNote(Filter):
    """Writes down what leaves, as it leaves; the server gets the ledger's head, signed, as a witness of it."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        reply, spent = outgoing.reply, outgoing.spent
        gate.note(
            outgoing.kind,
            "out",
            travelling_digest(reply.extension or reply.update, reply.control),
            groups=outgoing.groups,
            masked=outgoing.submission is not None,
            samples=reply.samples or {name: len(rows) for name, rows in reply.extension.items()},
            metrics=reply.metrics,
            epsilon=None if spent is None else spent.epsilon,
            delta=None if spent is None else spent.delta,
            policy=gate.site.policy.digest,
            note=outgoing.note,
        )
        facts = {**reply.facts, "head": gate.ledger.head}
        if (receipt := keep_anchor(gate.site, gate.ledger)) is not None:
            facts[RECEIPT] = receipt.text()
        return replace(outgoing, reply=replace(reply, facts=facts))
