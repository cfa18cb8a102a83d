"""The protocol of a filter, and what passes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from foundation.federation.ledger.spent import Spent
from foundation.federation.secure import SecureOrder
from foundation.federation.secure.site import Submission
from foundation.federation.site.gate import PolicyGate
from foundation.federation.statistics import SiteStatistics
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import Reply


@dataclass
class Outgoing:
    """What is about to leave a site.

    Attributes:
        kind: of it, as policies and ledgers call it.
        reply: its parts, as far as the filters have let them pass.
        patients: behind it.
        epochs: how often any one of them can have been in a step of training.
        counted: contributions by group that the policy lets leave, before noise hides them.
        behind: patients by modality, metric or group, where they are fewer.
        statistics: that it tells, until a filter puts them into the reply.
        counts: names of its arrays whose every cell counts patients.
        secure: what the order says of masks; None for an update in the open.
        residual: what compression lost of the update, by parameter.
        submission: the update for secure aggregation to mask.
        spent: of differential privacy, by the run up to and with it; None where nothing counts.
        note: for the ledger.
    """

    kind: Literal["update", "evaluation", "statistics", "embeddings"]
    reply: Reply
    patients: int
    behind: Mapping[str, int] = field(default_factory=dict)
    epochs: int = 1
    counted: Mapping[str, int] | None = None
    statistics: SiteStatistics | None = None
    counts: tuple[str, ...] = ()
    secure: SecureOrder | None = None
    residual: Arrays = field(default_factory=dict)
    submission: Submission | None = None
    spent: Spent | None = None
    note: str = ""

    @property
    def groups(self) -> list[str]:
        """Parameter groups, or names of an extension's arrays, of which it tells anything."""
        return sorted(self.reply.extension) or [group for group, count in self.reply.samples.items() if count]


class Filter:
    """What one rule takes away from, or puts on, all that leaves."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        """What may go on to the next filter.

        Args:
            outgoing: as the filters before have left it.
            gate: that admitted the order: site, policy, order, task and ledger.

        Raises:
            UserError: if nothing may leave; the reason then leaves in its place.
        """
        return outgoing

    def on_passed(self, outgoing: Outgoing, gate: PolicyGate) -> None:
        """What is to be done once every filter has let it pass."""
