"""The ordered filters through which everything leaves a site, from the first of a list to the last.

`WithheldGroups` keeps parameter groups back that too few of the site's patients trained. `ClipAndNoise` clips the
update and noises it, where the run promises differential privacy. `Compression` narrows it; what that loses stays here
for the next round. `Masking` takes it out of the open, for the server to see sums alone. `SmallCells` and
`WithheldMetrics` keep numbers of few patients back; `SmallSums` and `MaskedSums` do the same for sums. `PolicyCheck`
holds what is left against the site's policy once more, `ExtensionEpsilon` stops embeddings of which no epsilon can be
told, and `LedgerNote` writes down what leaves. A filter that refuses ends the list, and its reason leaves in the place
of all.
"""

from collections.abc import Sequence
from dataclasses import replace

from flwr.app import RecordDict

from foundation.federation.secure import masked_reply
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.filters.compression import Compression
from foundation.federation.site.filters.extension import ExtensionEpsilon
from foundation.federation.site.filters.groups import WithheldGroups
from foundation.federation.site.filters.ledger import LedgerNote
from foundation.federation.site.filters.masking import Masking
from foundation.federation.site.filters.metrics import WithheldMetrics
from foundation.federation.site.filters.policy import PolicyCheck
from foundation.federation.site.filters.privacy import ClipAndNoise
from foundation.federation.site.filters.small_cells import SmallCells
from foundation.federation.site.filters.sums import MaskedSums, SmallSums
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import pack_reply

UPDATE = (WithheldGroups(), ClipAndNoise(), Compression(), WithheldMetrics(), PolicyCheck(), LedgerNote())
MASKED_UPDATE = (WithheldGroups(), ClipAndNoise(), Masking(), WithheldMetrics(), PolicyCheck(), LedgerNote())
EVALUATION = (WithheldMetrics(), PolicyCheck(), LedgerNote())
STATISTICS = (SmallCells(), PolicyCheck(), LedgerNote())
SUMS = (SmallSums(), MaskedSums(), PolicyCheck(), LedgerNote())
EMBEDDINGS = (PolicyCheck(), ExtensionEpsilon(), LedgerNote())


def apply_filters(outgoing: Outgoing, filters: Sequence[Filter], gate: PolicyGate) -> Outgoing:
    """Lets something pass all filters of a list.

    Raises:
        UserError: of the filter that refuses.
    """
    for rule in filters:
        outgoing = rule.apply(outgoing, gate)
    for rule in filters:
        rule.on_passed(outgoing, gate)
    return outgoing


def packed(outgoing: Outgoing) -> RecordDict:
    """What has passed, as a message; of a masked update, counts included, nothing is in the open."""
    if outgoing.submission is None:
        return pack_reply(outgoing.reply)
    return masked_reply(pack_reply(replace(outgoing.reply, samples={})), outgoing.submission)
