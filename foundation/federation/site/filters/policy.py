"""The last check of all that leaves against the site's policy."""

from dataclasses import replace

from foundation.federation.policy import ReplyFacts, check_reply
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.standing import check_epsilon


class PolicyCheck(Filter):
    """Lets nothing pass that the site's policy forbids, whatever the filters before made of it."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        kind, reply = outgoing.kind, outgoing.reply
        counted = {"update": (1, 0), "embeddings": (0, 1)}.get(kind)
        spent = None if counted is None else gate.spent(*counted)
        facts = ReplyFacts(
            kind,
            outgoing.patients,
            outgoing.groups,
            reply.metrics,
            outgoing.behind,
            gate.statistics,
            gate.facts.privacy,
            spent,
            reply.samples if outgoing.counted is None else outgoing.counted,
            outgoing.epochs,
        )
        entries = gate.ledger.entries()
        check_reply(gate.site.policy, gate.facts, facts, entries)
        if counted is not None:
            check_epsilon(gate.order.plan, gate.order.run, entries, spent)
        return replace(outgoing, spent=spent)
