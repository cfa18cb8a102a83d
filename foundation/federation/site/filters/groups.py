"""Parameter groups that too few patients trained stay at the site."""

from dataclasses import replace

from foundation.federation.groups import group_of
from foundation.federation.policy import Declined, withhold
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate
from foundation.federation.weights.types import Arrays, Weights


class WithheldGroups(Filter):
    """Takes away the differences, control variates and counts of groups that the site's policy withholds."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        reply = outgoing.reply
        samples = withhold(gate.site.policy, reply.samples, outgoing.behind, outgoing.epochs)
        if any(reply.samples.values()) and not any(samples.values()):
            raise Declined("patients.training: too few different patients stand behind every part of the update")

        def trained(arrays: Arrays) -> Weights:
            return {name: value for name, value in arrays.items() if samples.get(group_of(name))}

        reply = replace(reply, update=trained(reply.update), control=trained(reply.control), samples=samples)
        return replace(outgoing, reply=reply, counted=samples)
