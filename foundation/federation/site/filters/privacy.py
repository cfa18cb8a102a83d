"""Differential privacy: what the run clips and noises before an update leaves."""

from dataclasses import replace

from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.weights.update import SiteUpdate


class ClipAndNoise(Filter):
    """Clips and noises the difference, counts the site as one in each group, and takes unprotected metrics away.

    Nothing of that in a run without differential privacy.
    """

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        order, reply = gate.order, outgoing.reply
        update = SiteUpdate(reply.update, reply.samples, metrics=reply.metrics)
        update = gate.privacy.protect(update, order.weights, gate.settings, order.buffers)
        reply = replace(reply, update=update.difference, samples=dict(update.samples), metrics=dict(update.metrics))
        return replace(outgoing, reply=reply)
